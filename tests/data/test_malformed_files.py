"""Every malformed file is refused in one line that begins with `file:line: `, and nothing of it is yielded as whole."""

import gzip
import importlib
import json
import os

import pytest

from posttrain.data import lines
from posttrain.data.sources import demonstration_jsonl, preference_jsonl, prompt_jsonl, qa_feedback, sentiment
from posttrain.errors import InputError

GOOD = b'{"prompt": "a b", "response": "c"}\n'
PREFERENCE = b'{"prompt": "p", "chosen": "c", "rejected": "r"}\n'
DEEP = b'{"prompt": "a", "response": "b", "facts": {"x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}}\n"


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def damaged(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


def judged(**changes: object) -> bytes:
    row = {"prompt": "p", "responses": ["a", "b", "c"], "pairs": [[0, 1, 1]]} | changes
    return json.dumps(row).encode() + b"\n"


def chat(chosen: object, rejected: object = None, **more: object) -> bytes:
    other = [{"role": "assistant", "content": "no"}]
    return json.dumps({"chosen": chosen, "rejected": rejected or other, **more}).encode() + b"\n"


def partly_given(given: object) -> bytes:
    return json.dumps({"prompt": "p", "response": "four", "given": given}).encode() + b"\n"


def turn(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": f"said by {role}"} for role in roles]


def feedback_row(**changes: object) -> bytes:
    row: dict[str, object] = {
        "question": "q",
        "passages": [["title", "one.", "two."]],
        "gold": "g",
        **{f"prediction {i}": f"answer {i}" for i in range(1, 5)},
        "feedback": {"errors": [], "missing-info": [], "corrected-prediction": "c"},
        "preference": [0, 1, 2, 1, 0, 2],
    }
    return json.dumps(row | changes).encode() + b"\n"


def span(start: object, end: object) -> dict[str, object]:
    error = {"error type": "Irrelevant", "explanation": "", "start": start, "end": end}
    return {"errors": [error], "missing-info": [], "corrected-prediction": ""}


# (case, file name, content, line or None for the whole file, what the message says)
DEMONSTRATIONS = [
    ("empty", "x.jsonl", b"", None, "empty"),
    ("given is no list", "x.jsonl", partly_given(3), 1, 'field "given" must be a list'),
    ("a given span is no list", "x.jsonl", partly_given([0, 1]), 1, 'field "given[0]" must be a list'),
    ("a given span in text", "x.jsonl", partly_given([["0", "1"]]), 1, 'field "given[0][0]" must be a whole number'),
    ("a given span of three", "x.jsonl", partly_given([[0, 1, 2]]), 1, "is [0, 1, 2]; expected [start, end]"),
    ("a given span past the end", "x.jsonl", partly_given([[1, 5]]), 1, "with 0 <= start < end <= 4"),
    ("a given span before the start", "x.jsonl", partly_given([[-1, 2]]), 1, "with 0 <= start < end <= 4"),
    ("an empty given span", "x.jsonl", partly_given([[1, 1]]), 1, "with 0 <= start < end <= 4"),
    ("given spans overlap", "x.jsonl", partly_given([[0, 3], [2, 4]]), 1, 'field "given[1]" is [2, 4]; expected'),
    ("empty gzip", "x.jsonl.gz", packed(b""), None, "empty"),
    ("one newline", "x.jsonl", b"\n", 1, "empty line"),
    ("blank line inside", "x.jsonl", GOOD + b"  \n" + GOOD, 2, "empty line"),
    ("bad UTF-8", "x.jsonl", GOOD + b'{"prompt": "\xff", "response": "b"}\n', 2, "not UTF-8 at byte 13"),
    ("UTF-8 cut off", "x.jsonl", GOOD + "{é".encode()[:-1], 2, "not UTF-8"),
    ("surrogate as UTF-8", "x.jsonl", GOOD + b'{"prompt": "\xed\xa0\x80"}\n', 2, "not UTF-8"),
    ("BOM", "x.jsonl", b"\xef\xbb\xbf" + GOOD, 1, "byte-order mark"),
    ("UTF-16", "x.jsonl", GOOD.decode().encode("utf-16"), 1, "byte-order mark"),
    ("UTF-16 without BOM", "x.jsonl", GOOD.decode().encode("utf-16-le"), 1, "NUL"),
    ("CRLF", "x.jsonl", GOOD + GOOD.replace(b"\n", b"\r\n"), 2, "carriage return"),
    ("NUL", "x.jsonl", GOOD + b'{"prompt": "a\0b", "response": "c"}\n', 2, "NUL"),
    ("tail of NULs after a crash", "x.jsonl", GOOD + b"\0" * 512, 2, "NUL"),
    ("torn last line", "x.jsonl", GOOD + GOOD[:20], 2, "Unterminated string"),
    ("torn first line", "x.jsonl", GOOD[5:] + GOOD, 1, "not JSON"),
    ("object over many lines", "x.jsonl", json.dumps({"prompt": "a"}, indent=1).encode(), 1, "not one object a line"),
    ("two objects on a line", "x.jsonl", GOOD + GOOD.strip() + b" " + GOOD, 2, "more text after the row at column 36"),
    ("comma after the object", "x.jsonl", GOOD.strip() + b",\n", 1, "more text"),
    ("single quotes", "x.jsonl", b"{'prompt': 'a'}\n", 1, "double quotes"),
    ("raw tab in a string", "x.jsonl", b'{"prompt": "a\tb", "response": "c"}\n', 1, "control character"),
    ("bad escape", "x.jsonl", b'{"prompt": "\\x41", "response": "c"}\n', 1, "escape"),
    ("half a surrogate pair", "x.jsonl", GOOD + b'{"prompt": "\\ud83d", "response": "c"}\n', 2, "surrogate"),
    ("half a surrogate pair as key", "x.jsonl", b'{"\\uDE00": 1}\n', 1, "surrogate"),
    ("NaN", "x.jsonl", b'{"prompt": "a", "response": "b", "facts": {"x": NaN}}\n', 1, "NaN is not a JSON number"),
    ("Infinity", "x.jsonl", b'{"prompt": "a", "response": "b", "facts": {"x": Infinity}}\n', 1, "Infinity"),
    ("-Infinity", "x.jsonl", b'{"prompt": "a", "response": "b", "facts": {"x": -Infinity}}\n', 1, "-Infinity"),
    ("overflow", "x.jsonl", b'{"prompt": "a", "response": "b", "facts": {"x": 1e999}}\n', 1, "too large"),
    ("5,000 digits", "x.jsonl", b'{"facts": ' + b"7" * 5000 + b"}\n", 1, "digits"),
    ("key twice", "x.jsonl", GOOD + b'{"prompt": "a", "prompt": "b", "response": "c"}\n', 2, '"prompt" is given twice'),
    ("key twice inside", "x.jsonl", b'{"prompt": "a", "response": "b", "facts": {"x": 1, "x": 2}}\n', 1, "given twice"),
    ("list row", "x.jsonl", GOOD + b'["a", "b"]\n', 2, "expected an object"),
    ("string row", "x.jsonl", b'"a"\n', 1, "expected an object"),
    ("null row", "x.jsonl", b"null\n", 1, "expected an object"),
    ("10,000 levels", "x.jsonl", GOOD + DEEP, 2, "nested deeper"),
    ("101 levels", "x.jsonl", b'{"facts": ' + b"[" * 100 + b"]" * 100 + b"}\n", 1, "nested deeper"),
    ("unclosed nesting", "x.jsonl", b"[" * 100_000, 1, "nested deeper"),
    ("17 MB line", "x.jsonl", GOOD + b'{"prompt": "' + b"a" * (17 * 2**20) + b'"}\n', 2, "longer than"),
    ("gzip bomb in a line", "x.jsonl.gz", packed(GOOD + b"a" * (64 * 2**20)), 2, "longer than"),
    ("gzip cut off", "x.jsonl.gz", packed(GOOD)[:-9], 2, "ends early"),
    ("gzip with a wrong checksum", "x.jsonl.gz", damaged(packed(GOOD), -8), 2, "CRC"),
    ("gzip with a damaged block", "x.jsonl.gz", damaged(packed(GOOD), 12), 1, "not JSON"),
    ("gzip with text after it", "x.jsonl.gz", packed(GOOD) + b"hello", 2, "gzip"),
    ("text named .gz", "x.jsonl.gz", GOOD, 1, "gzip"),
    ("gzip named .jsonl", "x.jsonl", packed(GOOD), 1, "name the file .jsonl.gz"),
    ("pickle", "x.pkl", b"\x80\x04N.", None, ".jsonl, .jsonl.gz, .json"),
    ("CSV", "x.csv", b"prompt,response\na\n", None, "unknown kind of file"),
    ("no field", "x.jsonl", GOOD + b"{}\n", 2, '"prompt" is missing'),
    ("field missing", "x.jsonl", GOOD + b'{"prompt": "a"}\n', 2, '"response" is missing'),
    ("field misspelt", "x.jsonl", b'{"promt": "a", "response": "b"}\n', 1, 'did you mean "prompt"'),
    ("field unknown", "x.jsonl", b'{"prompt": "a", "response": "b", "zzz": 1}\n', 1, '"zzz"'),
    ("prompt a number", "x.jsonl", GOOD + b'{"prompt": 7, "response": "b"}\n', 2, "must be text, got 7"),
    ("response null", "x.jsonl", b'{"prompt": "a", "response": null}\n', 1, "must be text"),
    ("response empty", "x.jsonl", GOOD + b'{"prompt": "a", "response": ""}\n', 2, '"response" is empty'),
    ("response blank", "x.jsonl", b'{"prompt": "a", "response": " \\n"}\n', 1, '"response" is empty'),
    ("references a text", "x.jsonl", b'{"prompt": "a", "response": "b", "references": "c"}\n', 1, "must be a list"),
    (
        "reference a number",
        "x.jsonl",
        b'{"prompt": "a", "response": "b", "references": ["c", 1]}\n',
        1,
        "references[1]",
    ),
    ("facts a list", "x.jsonl", b'{"prompt": "a", "response": "b", "facts": []}\n', 1, "must be an object"),
    ("id twice", "x.jsonl", b'{"prompt": "a", "response": "b", "id": "7"}\n' * 2, 2, "used before, at line 1"),
    ("document: object", "x.json", b'\n{"prompt": "a", "response": "b"}\n', 2, "expected a list of objects"),
    ("document: empty list", "x.json", b"[\n]\n", 2, "list is empty"),
    ("document: torn", "x.json", b"[\n" + GOOD + b",\n" + GOOD[:9], 4, "Expecting ':'"),
    ("document: not closed", "x.json", b"[\n" + GOOD, 3, "expected , or ]"),
    ("document: comma left over", "x.json", b"[\n" + GOOD + b",\n]", 4, "Expecting value"),
    ("document: text after it", "x.json", b"[" + GOOD + b"]\n\nhello", 4, "more text after the list"),
    ("document: number", "x.json", b"[\n" + GOOD + b", 7]", 3, "expected an object"),
    ("document: BOM", "x.json", b"\xef\xbb\xbf[" + GOOD + b"]", 1, "byte-order mark"),
    ("document: bad UTF-8", "x.json", b"[\n" + GOOD + b", \xff]", 3, "not UTF-8 at byte 3"),
    ("document: NUL", "x.json", b"[\n" + GOOD + b"\0]", 3, "NUL"),
    ("document: fault inside", "x.json", b'[\n{"prompt": "a",\n\n"response": }]', 4, "Expecting value"),
    ("document: field missing", "x.json", b"[\n" + GOOD + b',\n{"prompt": "a"}]', 4, '"response" is missing'),
    ("document: levels", "x.json", b"[\n" + b'{"facts":' * 100_000, 2, "nested deeper"),
]

PREFERENCES = [
    ("chosen missing", b'{"prompt": "p", "rejected": "r"}\n', '"chosen" is missing'),
    ("prompt missing", b'{"chosen": "c", "rejected": "r"}\n', '"prompt" is missing'),
    ("chosen misspelt", b'{"prompt": "p", "choosen": "c", "rejected": "r"}\n', 'did you mean "chosen"'),
    ("chosen equal to rejected", b'{"prompt": "p", "chosen": "c", "rejected": "c"}\n', "the same text"),
    ("chosen empty", b'{"prompt": "p", "chosen": "", "rejected": "r"}\n', '"chosen" is empty'),
    ("both forms", judged(chosen="c"), 'unknown field "chosen"'),
    ("one response", judged(responses=["a"]), "needs 2 or more"),
    ("empty response", judged(responses=["a", ""]), "responses[1]"),
    ("no pairs", judged(pairs=[]), "empty list"),
    ("label 3", judged(pairs=[[0, 1, 3]]), "unknown label 3"),
    ("label -1", judged(pairs=[[0, 1, 1], [0, 2, -1]]), '"pairs[1][2]" holds the unknown label -1'),
    ("label true", judged(pairs=[[0, 1, True]]), "unknown label True"),
    ("label text", judged(pairs=[[0, 1, "1"]]), 'unknown label "1"'),
    ("label a fraction", judged(pairs=[[0, 1, 1.0]]), "unknown label 1.0"),
    ("position too high", judged(pairs=[[0, 3, 1]]), "from 0 to 2"),
    ("position negative", judged(pairs=[[-1, 1, 1]]), "from 0 to 2"),
    ("position true", judged(pairs=[[0, True, 1]]), "whole number"),
    ("position twice", judged(pairs=[[1, 1, 1]]), "with itself"),
    ("two values", judged(pairs=[[0, 1]]), "holds 2 values"),
    ("annotator a number", judged(pairs=[[0, 1, 1, 7]]), "pairs[0][3]"),
    ("pair an object", judged(pairs=[{"first": 0}]), "must be a list"),
    ("two turns", chat(turn("user", "assistant", "user", "assistant")), "single turn"),
    ("system message", chat(turn("system", "user", "assistant")), "single turn"),
    ("user only", chat(turn("user")), "single turn"),
    ("no user message", chat(turn("assistant")), "user's message is missing"),
    ("unknown role", chat(turn("asistant")), 'did you mean "assistant"'),
    ("content missing", chat([{"role": "assistant"}]), '"content" is missing'),
    ("message a text", chat(["hello"]), "must be an object"),
    ("one side plain", chat(turn("user", "assistant"), "plain"), "must be a list"),
    ("prompts differ", chat(turn("user", "assistant"), prompt="another"), "differs"),
    ("prompt of two turns", chat(turn("assistant"), prompt=turn("user", "assistant")), "single user message"),
]

FEEDBACK = [
    ("five labels", feedback_row(preference=[0, 1, 2, 1, 0]), "holds 5 labels"),
    ("label 3", feedback_row(preference=[0, 1, 2, 3, 0, 1]), '"preference[3]" holds the unknown label 3'),
    ("prediction empty", feedback_row(**{"prediction 3": " "}), '"prediction 3" is empty'),
    ("prediction missing", feedback_row().replace(b"prediction 4", b"predicton 4"), 'did you mean "prediction 4"'),
    ("span beyond the text", feedback_row(feedback=span(0, 99)), '"end" is 99; expected from 0 to 8'),
    ("span reversed", feedback_row(feedback=span(5, 2)), "expected from 5 to 8"),
    ("span a fraction", feedback_row(feedback=span(0.5, 2)), "whole number"),
    ("passage a text", feedback_row(passages=["title"]), "passages[0]"),
    ("passage empty", feedback_row(passages=[[]]), "passages[0]"),
    ("sentence a number", feedback_row(passages=[["title", 1]]), "passages[0][1]"),
    ("demonstration row", b'{"text": "t", "answer": ["a"], "passages": [], "question": "q"}\n', 'field "text"'),
]

SENTIMENTS = [
    ("label 2", b'{"text": "a", "label": 2}\n', '"label" is 2; expected 0 or 1'),
    ("label true", b'{"text": "a", "label": true}\n', '"label" is True'),
    ("label a word", b'{"text": "a", "label": "pos"}\n', '"label" is "pos"'),
    ("nothing but breaks", b'{"text": "<br /> <br />", "label": 1}\n', "nothing but line breaks"),
    ("label missing", b'{"text": "a"}\n', '"label" is missing'),
    ("sentence for text", b'{"sentence": "a", "label": 1}\n', 'unknown field "sentence"'),
]


def assert_refused(kind: str, settings: dict[str, object], line: int | None, says: str) -> None:
    source = importlib.import_module(f"posttrain.data.sources.{kind}")
    with pytest.raises(InputError) as caught:
        source.load(source.Config(**settings))
    message, path = str(caught.value), settings["path"]
    assert message.startswith(f"{path}: " if line is None else f"{path}:{line}: "), message
    assert says in message.partition(f"{path}:")[2]
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300


@pytest.mark.parametrize(
    ("name", "content", "line", "says"), [case[1:] for case in DEMONSTRATIONS], ids=[case[0] for case in DEMONSTRATIONS]
)
def test_demonstrations(tmp_path, name, content, line, says):
    path = tmp_path / name
    path.write_bytes(content)
    assert_refused("demonstration_jsonl", {"path": path}, line, says)


@pytest.mark.parametrize(("content", "says"), [case[1:] for case in PREFERENCES], ids=[case[0] for case in PREFERENCES])
def test_preferences(tmp_path, content, says):
    path = tmp_path / "x.jsonl"
    path.write_bytes(PREFERENCE + content)
    assert_refused("preference_jsonl", {"path": path}, 2, says)


@pytest.mark.parametrize(("content", "says"), [case[1:] for case in FEEDBACK], ids=[case[0] for case in FEEDBACK])
def test_feedback(tmp_path, content, says):
    path = tmp_path / "x.jsonl"
    path.write_bytes(feedback_row() + content)
    assert_refused("qa_feedback", {"path": path, "records": "comparisons"}, 2, says)


@pytest.mark.parametrize(("content", "says"), [case[1:] for case in SENTIMENTS], ids=[case[0] for case in SENTIMENTS])
def test_sentiments(tmp_path, content, says):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "fine", "label": 1}\n' + content)
    assert_refused("sentiment", {"path": path, "records": "judgements"}, 2, says)


def test_the_rows_that_the_cases_start_from_are_sound(tmp_path):
    path = tmp_path / "x.jsonl"
    for source, content, more in (
        (demonstration_jsonl, GOOD, {}),
        (preference_jsonl, PREFERENCE + judged() + chat(turn("user", "assistant")), {}),
        (qa_feedback, feedback_row() + feedback_row(feedback=span(0, 8)), {"records": "comparisons"}),
        (sentiment, b'{"text": "fine", "label": 1}\n', {"records": "judgements"}),
    ):
        path.write_bytes(content)
        assert len(source.load(source.Config(path=path, **more))) == content.count(b"\n")


def test_prompts_as_plain_lines(tmp_path):
    path = tmp_path / "x.txt"
    for content, line, says in (
        (b"", None, "empty"),
        (b"a\n\nb\n", 2, "empty line"),
        (b"a\nb\r\n", 2, "carriage return"),
        (b"a\n\xffb\n", 2, "not UTF-8"),
        (b"a\0\n", 1, "NUL"),
    ):
        path.write_bytes(content)
        assert_refused("prompt_jsonl", {"path": path}, line, says)


def test_places_that_are_no_file(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(GOOD)
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name, says in (
        ("row.jsonl", 'no such file; did you mean "rows.jsonl"?'),
        ("rows.jsonl/deeper.jsonl", "no such file"),
        ("nowhere/x.jsonl", "no such file; check the path"),
        ("folder.jsonl", "is a directory"),
        ("pipe.jsonl", "not a regular file"),
        ("x" * 300 + ".jsonl", "cannot be read"),
    ):
        assert_refused("demonstration_jsonl", {"path": tmp_path / name}, None, says)


def test_a_gzip_bomb_of_sound_rows_is_refused_early(tmp_path):
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(packed(GOOD * (12 * 2**20 // len(GOOD))))
    with pytest.raises(InputError, match="expands more than 200 fold") as caught:
        demonstration_jsonl.load(demonstration_jsonl.Config(path=path))
    line = int(str(caught.value).removeprefix(f"{path}:").partition(":")[0])
    assert line * len(GOOD) < 6 * 2**20, "half of it was unpacked before it was refused"


def test_a_file_over_the_limit_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "long.jsonl"
    path.write_bytes(GOOD * 10)
    monkeypatch.setattr(lines, "MAX_FILE", 9 * len(GOOD))
    assert_refused("demonstration_jsonl", {"path": path}, 10, "more than")


def test_more_rows_asked_than_there_are(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(GOOD * 3)
    assert len(demonstration_jsonl.load(demonstration_jsonl.Config(path=path, num=3))) == 3
    assert_refused("demonstration_jsonl", {"path": path, "num": 4}, None, "num 4 ask for rows up to 4, the file has 3")


def test_rows_after_the_wanted_ones_are_checked_too(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(GOOD + b"{}\n")
    assert_refused("demonstration_jsonl", {"path": path, "num": 1}, 2, "missing")


def test_fields_of_no_use_are_ignored_only_by_name(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"prompt": "a", "response": "b", "score": 1}\n')
    assert_refused("prompt_jsonl", {"path": path, "ignored_fields": ("score",)}, 1, 'unknown field "response"')
    wanted = prompt_jsonl.Config(path=path, ignored_fields=("score", "response"))
    assert prompt_jsonl.load(wanted)[0].text == "a"
