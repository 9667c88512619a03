"""Strict text lines: every line of a file with its place, or an `InputError` that says `file:line: message`.

The text is UTF-8 without byte-order mark, NUL or carriage return; the file may be packed with gzip. Nothing is repaired
and nothing is skipped. Sizes are bounded, so that a hostile file ends in a message and not in an exhausted memory.
"""

import difflib
import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from posttrain.errors import InputError

MAX_LINE = 16 * 2**20  # bytes; far above any prompt, and small enough to fail before memory does
MAX_FILE = 8 * 2**30  # bytes after decompression
MAX_EXPANSION = 200  # times the packed bytes read so far; text packs 3 to 30 fold, a gzip bomb up to 1032 fold
MIN_BOMB = 2 * 2**20  # bytes; below it no expansion is worth refusing

BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # UTF-8, UTF-16 little endian, UTF-16 big endian


@dataclass(frozen=True)
class Where:
    """A place in a file; prints as `file:line`."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def fault(self, message: str) -> InputError:
        return InputError(f"{self}: {message}")


def shown(value: object) -> str:
    """A value as one short line for an error message."""
    written = repr(value) if not isinstance(value, str) else '"' + repr(value)[1:-1] + '"'
    return written if len(written) <= 60 else written[:57] + "..."


def read_lines(path: Path | str, endings: tuple[str, ...] = (".txt",)) -> Iterator[tuple[Where, str]]:
    """Every line of a UTF-8 text file without its newline. Raises InputError at the first fault, also an empty line."""
    path = Path(path)
    is_packed = path.name.lower().endswith(".gz")
    line = num_bytes = 0
    with open_bytes(path, endings) as stored:
        file = gzip.GzipFile(fileobj=stored) if is_packed else stored
        while raw := _readline(file, Where(path, line + 1)):
            line += 1
            where = Where(path, line)
            num_bytes += len(raw)
            if len(raw) > MAX_LINE:
                raise where.fault(f"line is longer than {MAX_LINE} bytes; split the row, or write one object a line")
            if num_bytes > MAX_FILE:
                raise where.fault(f"file holds more than {MAX_FILE} bytes; split it into smaller files")
            if is_packed and num_bytes > MIN_BOMB and num_bytes > MAX_EXPANSION * stored.tell():
                raise where.fault(f"gzip expands more than {MAX_EXPANSION} fold; unpack the file if you trust it")
            text = as_text(raw, where)
            if not text.strip():
                raise where.fault("empty line; remove it")
            yield where, text.removesuffix("\n")
    if line == 0:
        raise InputError(f"{path}: file is empty; expected one row a line")


def open_bytes(path: Path, endings: tuple[str, ...]) -> BinaryIO:
    """Open an existing, regular, non-empty file with one of the endings."""
    try:
        if not path.exists():
            near = difflib.get_close_matches(path.name, os.listdir(path.parent) if path.parent.is_dir() else [], 1)
            remedy = f"did you mean {shown(near[0])}?" if near else "check the path"
            raise InputError(f"{path}: no such file; {remedy}")
        if path.is_dir():
            raise InputError(f"{path}: is a directory; name a file in it")
        if not path.is_file():
            raise InputError(f"{path}: is not a regular file; copy the rows to one")
        if not path.name.lower().endswith(endings):
            raise InputError(f"{path}: unknown kind of file; expected a name that ends in {', '.join(endings)}")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: file is empty; expected at least one row")
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path and its permissions") from error


def _readline(file: BinaryIO | gzip.GzipFile, where: Where) -> bytes:
    try:
        return file.readline(MAX_LINE + 1)
    except EOFError as error:
        raise where.fault("gzip data ends early; the file was cut off, copy it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise where.fault(
            f"not sound gzip data ({error}); copy the file again, or name it .jsonl if unpacked"
        ) from error
    except OSError as error:
        raise where.fault(f"cannot be read: {error.strerror}") from error


def as_text(raw: bytes, where: Where) -> str:
    """The UTF-8 text of bytes that start at line `where.line`, without a byte-order mark, NUL or carriage return."""
    if where.line == 1 and raw.startswith(BYTE_ORDER_MARKS):
        raise where.fault("starts with a byte-order mark; save the file as UTF-8 without BOM")
    if where.line == 1 and raw.startswith(b"\x1f\x8b"):
        raise where.fault("is gzip data; name the file .jsonl.gz")
    for byte, message in (
        (b"\0", "NUL byte; the file is damaged, binary or UTF-16: write it anew as UTF-8"),
        (b"\r", "carriage return (Windows line end); save the file with Unix line ends"),
    ):
        if (position := raw.find(byte)) >= 0:
            raise Where(where.file, where.line + raw.count(b"\n", 0, position)).fault(message)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = where.line + raw.count(b"\n", 0, error.start)
        column = error.start - raw.rfind(b"\n", 0, error.start)
        fault = Where(where.file, line).fault(f"not UTF-8 at byte {column} of the line; save the file as UTF-8")
        raise fault from error
