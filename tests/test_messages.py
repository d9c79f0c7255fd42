"""Messages: no password is shown, no value is long, commands can be pasted."""

import os
import string
import subprocess

import pytest
from hypothesis import example, given, settings, strategies as st
from sqlalchemy import URL

from kmcl_platform.errors import ConfigError
from kmcl_platform.messages import bound_line, mask_passwords, shell_command, show_path, show_value

# Letters that occur nowhere else in the addresses below, so that finding one means that the password is shown.
SECRET = st.text(alphabet="QXZ", min_size=4, max_size=10)
AROUND = st.text(alphabet="QXZ/:#?&=+!$%,;~^*().[]{}|-_@0123456789", max_size=8)
SCHEMES = st.sampled_from(["postgresql", "postgresql+psycopg2", "mysql+pymysql", "http", "https", "s3", "redis"])
USERS = st.sampled_from(["", "user", "a.b", "me%40home", "1"])


@given(SCHEMES, USERS, SECRET, AROUND, st.sampled_from(["host", "host:5432", "10.0.0.1", "[::1]:80"]))
@example("postgresql", "user", "QXQX", "@/:", "host")
def test_the_password_of_an_address_never_remains(scheme: str, user: str, secret: str, end: str, host: str) -> None:
    for text in (
        f"{scheme}://{user}:{secret}{end}@{host}/db",
        f"at '{scheme}://{user}:{end.strip('0123456789')}{secret}@{host}/db'.",
    ):
        masked = mask_passwords(text)
        assert secret not in masked, (text, masked)
        assert "***@" in masked
        assert f"{scheme}://{user}:" in masked


@given(
    st.text(alphabet=string.printable.replace(" ", ""), min_size=1, max_size=20).map(lambda text: f"Q{text.strip()}Z")
)
def test_passwords_in_addresses_of_sqlalchemy_are_masked(password: str) -> None:
    url = URL.create("postgresql", "user", password, "host", 5432, "db").render_as_string(hide_password=False)
    assert mask_passwords(f"cannot reach {url}") == "cannot reach postgresql://user:***@host:5432/db"


@given(SECRET, st.sampled_from(["password", "sslpassword", "PWD", "token", "api_token", "client-secret", "passwd"]))
def test_the_password_of_a_query_never_remains(secret: str, name: str) -> None:
    masked = mask_passwords(f"http://host/path?a=1&{name}={secret}&b=2#part")
    assert masked == f"http://host/path?a=1&{name}=***&b=2#part"


@pytest.mark.parametrize(
    "text",
    ["http://host:8080/path/a@b", "sqlite:////tmp/a@b.db", "s3://bucket/key", "a: b@c", "mail me@host.org: now", "http://host:80 and you@there"],
)  # fmt: skip
def test_text_that_is_not_a_password_stays(text: str) -> None:
    assert mask_passwords(text) == text


def test_an_error_masks_and_bounds_its_text() -> None:
    error = ConfigError("postgresql://user:QXZ@host/db: " + "x" * 3000)
    assert "QXZ" not in str(error)
    assert len(str(error)) < 1050
    assert str(error).endswith("characters)")


@given(st.recursive(st.integers() | st.text() | st.floats(), lambda inner: st.lists(inner)), st.integers(20, 100))
def test_a_value_is_shown_in_a_bounded_length(value: object, limit: int) -> None:
    shown = show_value(value, limit)
    assert shown == repr(value) or len(shown) <= limit + 30


def test_a_number_that_python_refuses_to_print_is_shown() -> None:
    assert show_value(10**5000) == "a value that cannot be printed (int)"


def test_a_line_stays_one_line() -> None:
    assert bound_line("a") == "a"
    assert len(bound_line("a" * 5000)) < 1050


def test_a_path_that_is_not_utf8_can_be_printed() -> None:
    assert show_path(b"a\xff.png".decode("utf-8", "surrogateescape")) == "a\\xff.png"


# A word of a command can have every byte except NUL, in UTF-8 or not.
WORDS = st.binary(min_size=1).map(lambda word: word.replace(b"\0", b"")).map(os.fsdecode) | st.text().map(
    lambda word: word.replace("\0", "")
)


@settings(max_examples=50, deadline=None)
@given(st.lists(WORDS, min_size=1))
@example(["caf\udce9.yaml", "it's \udcff\\x", "a\nb", "\udce9a", "$HOME", "é"])
def test_a_command_can_be_pasted(words: list[str]) -> None:
    """A real shell gets the same words, whatever bytes are in them; the command is one line of printable text."""
    command = shell_command(words)
    assert "\n" not in command
    command.encode()
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in words]
