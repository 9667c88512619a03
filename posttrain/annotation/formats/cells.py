"""CSV that a spreadsheet opens without running it, and that comes back as it was.

A spreadsheet takes a cell that begins with = + - @ for a formula, which may send the sheet's content away or start
programs (CWE-1236); a tab, a carriage return or a newline before it does not help, and the full-width ＝＋－＠ count in
some locales. Such a cell, and one that begins with apostrophes before such a character, gets an apostrophe in front;
reading takes it off again. Every cell is quoted, so that no text begins a cell of its own.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from posttrain.data.lines import MAX_LINE, Where, open_bytes, shown
from posttrain.errors import InputError

MAX_TABLE = 256 * 2**20  # bytes of a .csv file, which is read as a whole

FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
DISARMED = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")

Cells = dict[str, str]


def disarm(cell: str) -> str:
    return "'" + cell if FORMULA.match(cell) else cell


def rearm(cell: str) -> str:
    """The text that `disarm` was given."""
    return cell[1:] if DISARMED.match(cell) else cell


def write_cells(header: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """Lines of RFC 4180; columns that a row lacks are empty."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([disarm(name) for name in header])
    for number, row in enumerate(rows, 1):
        cells = [disarm(row.get(name, "")) for name in header]
        for name, cell in zip(header, cells, strict=True):
            _check(cell, number, name)
        writer.writerow(cells)
    return file.getvalue()


def read_cells(path: Path | str) -> Iterator[tuple[Where, Cells]]:
    """Every row by column name, with the line that it begins on. Takes the byte-order mark that Excel writes."""
    path = Path(path)
    with open_bytes(path, (".csv",)) as file:
        raw = file.read(MAX_TABLE + 1)
    if len(raw) > MAX_TABLE:
        raise InputError(f"{path}: more than {MAX_TABLE} bytes in one table; split it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = Where(path, 1 + raw.count(b"\n", 0, error.start))
        raise where.fault("not UTF-8; save the table as CSV UTF-8") from error
    csv.field_size_limit(MAX_LINE)  # of the process; the standard one of 131,072 characters is below some prompts
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    line = 1
    try:
        for cells in rows:
            where, line = Where(path, line), rows.line_num + 1
            if not header:
                header = _header(cells, where)
            elif len(cells) != len(header):
                raise where.fault(f"{len(cells)} cells under {len(header)} columns; quote cells that hold commas")
            else:
                yield where, {name: rearm(cell) for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise Where(path, line).fault(f"not a row of a table: {error}; save it as CSV again") from error


def _header(cells: Sequence[str], where: Where) -> list[str]:
    names = [rearm(cell) for cell in cells]
    twice = [name for name in names if names.count(name) > 1]
    if twice or not names:
        raise where.fault(f"column {shown(twice[0]) if twice else ''} is given twice or empty; name each column once")
    return names


def _check(cell: str, number: int, name: str) -> None:
    try:
        cell.encode()
    except UnicodeEncodeError as error:
        message = f"row {number} of the export, column {name}: half a surrogate pair is no character; mend the item"
        raise InputError(message) from error
    if "\0" in cell:
        raise InputError(f"row {number} of the export, column {name}: NUL byte; mend the item, or export it as JSONL")
