"""The objects of a large JSON file, one at a time. COCO's 450 MB would take gigabytes as Python objects."""

import codecs
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from kmcl_platform.data.progress import Progress
from kmcl_platform.data.tables.encodings import find_encoding
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path, show_value

_CHUNK = 1 << 20
_LONGEST = 64 << 20
"""The most characters of one value, far more than in COCO. If no value ends within them, the file is damaged."""


def read_objects(path: Path, keys: Collection[str], progress: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object in the lists under `keys` of the file's outermost object, with its key, in the file's order.

    It takes the memory of one object and a few MB of text. The file is in UTF-8, UTF-16 or UTF-32.

    Raises:
        DataError: the file is missing, is not such JSON or ends too early, or a key is missing.
    """
    try:
        with path.open("rb") as file:
            text = _Text(path, file, progress)
            missing = set(keys)
            text.take("{")
            while text.peek() != "}":
                key = text.value()
                text.take(":")
                # A second list of the same key is skipped as any other value: JSON allows the repetition, COCO does not
                # have it.
                if key in missing:
                    missing.remove(key)
                    for item in _items(text):
                        if not isinstance(item, dict):
                            raise text.error(f"{key}: got {show_value(item, 60)}", "a list of objects")
                        yield key, item
                else:
                    text.value()
                if text.peek() == ",":
                    text.take(",")
            if missing:
                raise text.error(f"{', '.join(sorted(missing))}: missing", f"lists {', '.join(keys)}")
    except OSError as error:
        raise DataError(f"{show_path(path)}: cannot be read ({error.strerror}); valid: a JSON file") from None


def _items(text: "_Text") -> Iterator[Any]:
    text.take("[")
    while text.peek() != "]":
        yield text.value()
        if text.peek() == ",":
            text.take(",")
        elif text.peek() != "]":
            raise text.error(f"got {text.peek()!r}", "',' or ']'")
    text.take("]")


class _Text:
    """The text of a file from a position on; more of it is read when it is needed."""

    def __init__(self, path: Path, file: BinaryIO, progress: Progress) -> None:
        self._path = path
        self._file = file
        self._progress = progress
        self._size = path.stat().st_size
        self._bytes = 0
        self._encoding = find_encoding(file.read(4))
        file.seek(0)
        self._decode = codecs.getincrementaldecoder(self._encoding)().decode
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._ended = False

    def error(self, got: str, valid: str) -> DataError:
        return DataError(
            f"{show_path(self._path)}: near byte {self._bytes - len(self._text) + self._at}: {got}; valid: {valid}"
        )

    def peek(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read(_CHUNK)

    def take(self, character: str) -> None:
        """Move past this character."""
        found = self.peek()
        if found != character:
            raise self.error(f"got {found!r}" if found else "the file ends", repr(character))
        self._at += 1

    def value(self) -> Any:
        """The next whole value."""
        self.peek()
        while True:
            left = len(self._text) - self._at
            try:
                # The scan fails on a value that is not whole yet. More text is then read, and the value is scanned
                # again.
                value, end = self._scan(self._text, self._at)
            except (ValueError, RecursionError):
                # More text helps a value that is not whole. Lists that are nested too deep fail again, until the limit.
                if self._ended or left > _LONGEST:
                    raise self.error("no JSON value, or the file is cut off", "JSON as the dataset has it") from None
            else:
                # A number at the end of the text that was read may have more digits in the file.
                if end < len(self._text) or self._ended:
                    self._at = end
                    return value
            # The text is doubled each time, so a long value is scanned only a few times.
            self._read(max(_CHUNK, left))

    def _read(self, size: int) -> None:
        chunk = self._file.read(size)
        self._ended = not chunk
        self._bytes += len(chunk)
        try:
            more = self._decode(chunk, self._ended)
        except UnicodeDecodeError:
            raise self.error(f"bytes that are not {self._encoding.upper()}", "JSON in UTF-8 or UTF-16") from None
        # What was scanned is dropped, so only the current value is in memory.
        self._text = self._text[self._at :] + more
        self._at = 0
        self._progress(self._path.name, self._bytes, self._size)
