"""The text of messages: values are shown in a bounded length, passwords are masked, commands are quoted."""

import difflib
import re
import shlex
import unicodedata
from collections.abc import Iterable
from os import PathLike

MAX_VALUE_CHARACTERS = 200
MAX_LINE_CHARACTERS = 1000
_MOST_NAMES = 24
_MAX_REASON_CHARACTERS = 600

# The password may hold any character but white space and quotes, "/" and ":" among them: SQLAlchemy allows it too.
# `host:8080/path/a@b` has no password: the number after the colon is a port.
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/?#@:'\"]*):(?!\d+(?:[/?#\s'\"]|$))[^\s'\"<>]*@")
_QUERY_PASSWORD = re.compile(r"([?&](?:[\w-]*(?:password|passwd|pwd|secret|token)[\w-]*)=)[^&\s'\"#]+", re.IGNORECASE)


def mask_passwords(text: str) -> str:
    """Replace each password in the addresses of a text by `***`; everything else stays as it is.

    Call it for every address that is printed, logged or recorded. The errors of `errors.py` call it by themselves.

    >>> mask_passwords("postgresql://user:pa/ss@host/db?sslpassword=x")
    'postgresql://user:***@host/db?sslpassword=***'
    """
    return _QUERY_PASSWORD.sub(r"\1***", _URL_PASSWORD.sub(r"\1:***@", text))


def show_value(value: object, limit: int = MAX_VALUE_CHARACTERS) -> str:
    """A value as an error message quotes it: its `repr`, cut in the middle if it is longer than `limit` characters.

    >>> show_value("x" * 1000, limit=20)
    "'xxxxxxx … xxxxxxx' (1,002 characters)"
    """
    try:
        return _cut(repr(value), limit)
    except (ValueError, RecursionError):
        # Python prints no whole number of more than 4,300 digits, and no list that is nested too deep.
        return f"a value that cannot be printed ({type(value).__name__})"


def bound_line(line: str) -> str:
    """A line of a message, cut in the middle if it is longer than 1,000 characters."""
    return _cut(line, MAX_LINE_CHARACTERS)


def reason_line(text: str) -> str:
    r"""A reason that other code gives, such as the text of its error, as one printable line of some hundred characters.

    >>> reason_line("out of\n memory \x1b[31m")
    'out of memory \\x1b[31m'
    """
    # Not more than is needed is looked at: the text may be as long as a dump.
    words = mask_passwords(" ".join(text[: 10 * _MAX_REASON_CHARACTERS].split()))
    return _cut("".join(map(_escape_control, words)), _MAX_REASON_CHARACTERS)


def show_path(path: str | PathLike[str]) -> str:
    """A path as text that any terminal and log accepts: bytes that are not UTF-8 are shown as `\\xNN`."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def count_of(number: int, noun: str) -> str:
    """A number with its noun, which gets an `s` unless the number is 1.

    >>> count_of(1, "file"), count_of(1200, "file")
    ('1 file', '1,200 files')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def nearest_first(name: str, known: Iterable[str]) -> str:
    """The valid names for one that is not: those that may be meant come first, the others follow in their order.

    Of more than `_MOST_NAMES` names the first ones are shown, and how many there are besides.

    >>> nearest_first("lr", ["data.source", "optim.lr"]), nearest_first("sorce", ["optim.lr", "source"])
    ('optim.lr, data.source', 'source, optim.lr')
    """
    names = sorted(known)
    same = [one for one in names if one.split(".")[-1] == name.split(".")[-1]]
    near = same or difflib.get_close_matches(name, names)
    ordered = [*near, *(one for one in names if one not in near)]
    if len(ordered) <= _MOST_NAMES:
        return ", ".join(ordered)
    shown = ordered[: _MOST_NAMES // 2]
    return f"{', '.join(shown)} and {len(ordered) - len(shown)} more"


def shell_command(words: Iterable[object]) -> str:
    r"""A command as a user can paste it into a shell: every word is quoted where that is necessary.

    The command is one line of printable text. Bytes that are not UTF-8 and control characters are written as bash and
    zsh read them.

    >>> shell_command(["kmcl", "search", "my file.yaml"])
    "kmcl search 'my file.yaml'"
    >>> print(shell_command(["kmcl", "search", b"caf\xe9.yaml".decode("utf-8", "surrogateescape")]))
    kmcl search $'caf\xe9.yaml'
    """
    return " ".join(_quote(str(word)) for word in words)


def _quote(word: str) -> str:
    if not any(unicodedata.category(character) in ("Cc", "Cs") for character in word):
        return shlex.quote(word)
    return "$'" + "".join(map(_escape, word)) + "'"


def _escape(character: str) -> str:
    return f"\\{character}" if character in "\\'" else _escape_control(character)


def _escape_control(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cs"):
        return character
    # Python keeps each byte of a path that is not UTF-8 as one of these surrogates. Other surrogates are in no path.
    kept = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", kept))


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    part = (limit - len(" … ")) // 2
    return f"{text[:part]} … {text[-part:]} ({len(text):,} characters)"
