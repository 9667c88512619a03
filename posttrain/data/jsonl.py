"""Strict JSON rows: a file is read whole and sound, or refused with `file:line: message`.

`read_rows` reads .jsonl and .jsonl.gz (one object a line) and .json (a list of objects), UTF-8 as RFC 8259 writes it.
It never repairs and never skips; what other readers let pass (NaN, a key given twice, half a surrogate pair) is an
`InputError` too. `posttrain.data.fields` takes typed values out of a row.
"""

import gzip
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.data.lines import MAX_LINE, Where, as_text, open_bytes, read_lines, shown
from posttrain.errors import EnvironmentFault, InputError

MAX_DOCUMENT = 256 * 2**20  # bytes of a .json file, which is parsed as a whole
MAX_DEPTH = 100  # levels of nesting, so that nothing downstream meets the recursion limit

ENDINGS = (".jsonl", ".jsonl.gz", ".json")

Row = dict[str, Any]


def read_rows(path: Path | str, tell: Callable[[InputError], None] | None = None) -> Iterator[tuple[Where, Row]]:
    """Every object of the file in order, each with its place. Raises InputError at the first fault.

    `tell` hears instead of the fault of a line, which is then passed over; a .json document has none that ends alone.
    """
    path = Path(path)
    if path.name.lower().endswith(".json"):
        yield from _rows_of_document(path)
        return
    for where, line in read_lines(path, ENDINGS):
        try:
            row = _row_of_line(line, where)
        except InputError as fault:
            if tell is None:
                raise
            tell(fault)
            continue
        yield where, row


def _row_of_line(line: str, where: Where) -> Row:
    value, end = _decode(line, len(line) - len(line.lstrip(" \t")), where)
    if rest := line[end:].lstrip(" \t"):
        column = len(line) - len(rest) + 1
        raise where.fault(f"more text after the row at column {column}; write one object a line")
    return _as_row(value, where)


def parse(text: str, where: Where) -> object:
    """One JSON value and nothing else, as strictly as a row of a file. InputError names `where`."""
    text = text.strip(" \t\r\n")
    value, end = _decode(text, 0, where)
    if end < len(text):
        raise where.fault("more text after the JSON value; remove it")
    return value


def write_rows(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write .jsonl or .jsonl.gz so that `path` is either the old file or the whole new one; returns the number of rows.

    The same rows give the same bytes. Raises InputError for a row that `read_rows` would refuse (the old file stays),
    EnvironmentFault when the machine refuses to write.
    """
    path = Path(path)
    if not path.name.lower().endswith((".jsonl", ".jsonl.gz")):
        raise InputError(f"{path}: rows are written to a file that ends in .jsonl or .jsonl.gz")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    num_rows = 0
    try:
        with open(part, "wb") as raw_file:
            packed = gzip.GzipFile("", "wb", fileobj=raw_file, mtime=0) if path.name.lower().endswith(".gz") else None
            file = packed or raw_file
            for row in rows:
                num_rows += 1
                file.write(_encode(row, Where(path, num_rows)))
            if packed:
                packed.close()
            raw_file.flush()
            os.fsync(raw_file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return num_rows


def _encode(row: Mapping[str, Any], where: Where) -> bytes:
    try:
        line = json.dumps(dict(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise where.fault(f"row cannot be written as JSON: {error}") from error
    if len(line) > MAX_LINE:
        raise where.fault(f"row is longer than {MAX_LINE} bytes")
    return line


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rows_of_document(path: Path) -> Iterator[tuple[Where, Row]]:
    """The objects of one JSON list, each with the line that it starts on."""
    with open_bytes(path, (".json",)) as file:
        raw = file.read(MAX_DOCUMENT + 1)
    if len(raw) > MAX_DOCUMENT:
        raise InputError(f"{path}: more than {MAX_DOCUMENT} bytes in one document; write it as .jsonl")
    text = as_text(raw, Where(path, 1))
    cursor = _Cursor(path, text)
    if cursor.skip_space() != "[":
        raise cursor.where.fault("expected a list of objects; start with [, or write one object a line as .jsonl")
    separator = "["
    while separator != "]":
        cursor.move(cursor.position + 1)
        if cursor.skip_space() == "]" and separator == "[":
            raise cursor.where.fault("list is empty; expected at least one object")
        where = cursor.where
        value, end = _decode(text, cursor.position, where)
        if end - cursor.position > MAX_LINE:
            raise where.fault(f"row is longer than {MAX_LINE} characters; split it")
        yield where, _as_row(value, where)
        cursor.move(end)
        separator = cursor.skip_space()
        if separator not in {",", "]"}:
            raise cursor.where.fault("expected , or ] after the object; the file may be cut off")
    cursor.move(cursor.position + 1)
    if cursor.skip_space():
        raise cursor.where.fault("more text after the list; remove it")


class _Cursor:
    """A position in a document that knows its line."""

    def __init__(self, path: Path, text: str) -> None:
        self.text, self.position, self.where = text, 0, Where(path, 1)

    def move(self, position: int) -> None:
        self.where = Where(self.where.file, self.where.line + self.text.count("\n", self.position, position))
        self.position = position

    def skip_space(self) -> str:
        """Move to the next character that is no white space and return it, "" at the end."""
        match = _SPACE.match(self.text, self.position)
        self.move(match.end() if match else self.position)
        return self.text[self.position : self.position + 1]


def _as_row(value: object, where: Where) -> Row:
    if not isinstance(value, dict):
        raise where.fault(f"expected an object {{...}}, got {shown(value)}")
    return value


def _decode(text: str, position: int, where: Where) -> tuple[object, int]:
    """The JSON value at `position`, which lies on line `where.line` of the file, and the position after it."""
    try:
        value, end = _DECODER.raw_decode(text, position)
        if text.count("[", position, end) + text.count("{", position, end) > MAX_DEPTH and _depth(value) > MAX_DEPTH:
            raise RecursionError
        if _SURROGATE.search(text, position, end):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        line = where.line + text.count("\n", position, error.pos)
        message = f"not JSON: {error.msg} at column {error.colno}; the row may be cut off, or not one object a line"
        raise Where(where.file, line).fault(message) from error
    except RecursionError as error:
        raise where.fault(f"nested deeper than {MAX_DEPTH} levels; flatten the row") from error
    except UnicodeEncodeError as error:
        raise where.fault("half a surrogate pair (\\ud800 to \\udfff) is no character; write the whole pair") from error
    except ValueError as error:  # raised by the hooks below, and by int() above 4300 digits
        raise where.fault(f"not JSON: {error}") from error
    return value, end


def _depth(value: object) -> int:
    """Levels of objects and lists; counted without recursion, which is what they could exhaust."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row: Row = {}
    for key, value in pairs:
        if key in row:
            raise ValueError(f"key {shown(key)} is given twice; remove one")
        row[key] = value
    return row


def _constant(literal: str) -> float:
    raise ValueError(f"{literal} is not a JSON number; write a finite number or null")


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError(f"{shown(literal)} is too large; write a finite number or null")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"[ \t\n]*")
