"""Text files of other programs: their encoding is detected, and unknown encodings are refused in one line."""

import codecs
import re
from pathlib import Path

from kmcl_platform.errors import DataError
from kmcl_platform.messages import shell_command, show_path

_BYTE_ORDER_MARKS = (
    # The mark of UTF-32 begins with that of UTF-16, so UTF-32 is tried first.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PROBE_BYTES = 4096


def find_encoding(start: bytes) -> str:
    """The encoding of a text that begins with these bytes: UTF-8, unless they show that it is UTF-16 or UTF-32.

    A byte-order mark decides. Without one, every second byte of UTF-16 is zero where the text is English (as the names
    of columns and JSON's own characters are), and no text in UTF-8 or Latin-1 has a zero byte.

    Args:
        start: the first bytes of the file, four or more unless the file is shorter.

    Returns:
        A name for `bytes.decode` and `codecs`; with a mark, one that leaves the mark out of the text.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding
    even, odd = start[0:_PROBE_BYTES:2].count(0), start[1:_PROBE_BYTES:2].count(0)
    if not even and not odd:
        return "utf-8"
    # An English character in UTF-32 has three zero bytes, before it or after it.
    if start[:3] == b"\0\0\0" or start[1:4] == b"\0\0\0":
        return "utf-32-be" if start[:1] == b"\0" else "utf-32-le"
    # UTF-16 in big-endian order has its zero bytes first, at the even places.
    return "utf-16-be" if even > odd else "utf-16-le"


def decode_text(path: Path, data: bytes, encoding: str | None = None) -> str:
    """The text of a file; a byte-order mark is not part of it.

    Args:
        path: the file, for the message.
        data: all of its bytes.
        encoding: any name that Python knows; None: detected, see `find_encoding`.

    Raises:
        DataError: the bytes are not text in that encoding.
    """
    known = encoding or find_encoding(data[:_PROBE_BYTES])
    # "utf-8" would keep the mark as the first character, and so change the name of the first column.
    if known in ("utf-8", "utf8") and data.startswith(codecs.BOM_UTF8):
        known = "utf-8-sig"
    try:
        return data.decode(known)
    except LookupError:
        raise DataError(f"encoding: got {encoding!r}; valid: utf-8, utf-16, latin-1, cp1252, …") from None
    except UnicodeDecodeError as error:
        raise undecodable(path, known, data[: error.start].count(b"\n") + 1, data[error.start]) from None


def undecodable(path: Path, encoding: str, line: int, byte: int) -> DataError:
    """The error of a file whose bytes are not text; it names the command that converts a file in Latin-1."""
    # Any bytes are valid Latin-1. Reading them as Latin-1 would be a guess, which can change the name of a class.
    convert = shell_command(["iconv", "-f", "latin1", "-t", "utf-8", path, "-o", path.with_name(f"utf8-{path.name}")])
    return DataError(
        f"{show_path(path)}: line {line}: got byte 0x{byte:02x}, not {encoding.removesuffix('-sig').upper()}; valid: "
        f"a text in UTF-8 or UTF-16; to convert one in Latin-1: {convert}"
    )


def split_lines(text: str) -> list[str]:
    """The lines of a text, whichever system wrote it (`\\n`, `\\r\\n` or `\\r`).

    `str.splitlines` is not used because it also splits at characters that are valid in a file's name.
    """
    return re.split(r"\r\n|\n|\r", text)
