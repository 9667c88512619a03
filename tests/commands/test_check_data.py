"""`posttrain data qa_feedback --check`: what is there, what is missing, and every fault of every row."""

import copy
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from posttrain import cli
from posttrain.commands import check_data
from tests.data.sources.test_qa_feedback import DEMONSTRATION_ROW, FEEDBACK_ROW, FOLDER, real_data


def write(path: Path, *rows: Any) -> Path:
    """Rows as the ending of the name says; a text stands for itself."""
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
        return path
    content = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def changed(row: dict[str, Any], **fields: Any) -> dict[str, Any]:
    made = copy.deepcopy(row) | fields
    return {name: value for name, value in made.items() if value is not None}


def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(["data", "qa_feedback", "--check", str(folder)])
    return code, *capsys.readouterr()


def test_what_is_there_and_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write(tmp_path / "train_1k.json", DEMONSTRATION_ROW, DEMONSTRATION_ROW)
    write(tmp_path / "dev.jsonl", DEMONSTRATION_ROW)
    empty = changed(FEEDBACK_ROW["feedback"], errors=[{"error type": "Redundant", "start": 2, "end": 2}])
    write(tmp_path / "dev_feedback.jsonl.gz", FEEDBACK_ROW, changed(FEEDBACK_ROW, feedback=empty))
    (tmp_path / "more.json").write_text("[]")
    code, out, err = run(tmp_path, capsys)
    assert (code, err) == (0, "")
    assert "train_1k.json: 2 sound rows (the original has 1,000), for supervised fine-tuning" in out
    assert "    answers a question: 2 (2)\n" in out
    for name in ("train", "test", "train_feedback"):
        assert f"{name}: missing; needed for " in out
    assert "dev.jsonl: 1 sound rows, for" in out
    assert "second better): 1 (4), 2 (4), 0 (4)" not in out
    assert "second better): 0 (4), 1 (4), 2 (4)\n" in out
    assert "    errors of prediction 1: Irrelevant (1)\n" in out
    assert "    rows with such an error: Irrelevant (1), none (1)\n" in out
    assert "    missing information of prediction 1: Missing-Answer (2)\n" in out
    assert "count for nothing: errors (1)\n" in out
    assert "no file of the original: more.json" in out


def test_every_fault_of_every_row_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    feedback = {
        "errors": [{"error type": "Irrelevant", "start": 0, "end": 99}, {"start": 0, "end": 1}, 7],
        "missing-info": "none",
        "corrected": "",
        "corrected-prediction": "",
    }
    path = write(
        tmp_path / "train_feedback.jsonl",
        FEEDBACK_ROW,
        changed(FEEDBACK_ROW, feedback=feedback, preference=[0, 1, 3, "1", 0, 2], gold=None),
        "{broken",
        changed(FEEDBACK_ROW, **{"prediction 2": "", "preference": [0, 1], "passages": [["a", 5], "b"], "golden": "x"}),
        FEEDBACK_ROW,
    )
    code, out, err = run(tmp_path, capsys)
    assert code == 2
    assert err == (
        f"posttrain: {tmp_path}: 13 faults in train_feedback.jsonl, listed above; correct these rows or remove them\n"
    )
    assert "train_feedback.jsonl: 2 sound rows" in out
    faults = [line.strip().removeprefix(f"{path}:") for line in out.splitlines() if str(path) in line]
    for number, words in [
        (2, ['field "gold" is missing', "add it"]),
        (2, ['"preference[2]"', "unknown label 3"]),
        (2, ['"preference[3]"', 'unknown label "1"']),
        (2, ['unknown field "corrected"', "did you mean"]),
        (2, ['field "end" is 99; expected from 0 to 5']),
        (2, ['field "error type" is missing']),
        (2, ['"errors[2]" must be an object']),
        (2, ['"missing-info" must be a list']),
        (3, ["not JSON"]),
        (4, ['unknown field "golden"', 'did you mean "gold"?']),
        (4, ['field "prediction 2" is empty']),
        (4, ['"passages[0][1]" must be text']),
        (4, ['"passages[1]" must be a list']),
    ]:
        assert any(it.startswith(f"{number}: ") and all(word in it for word in words) for it in faults), words


def test_labels_too_few_are_told_where_nothing_else_is_wrong(tmp_path: Path):
    path = write(tmp_path / "dev_feedback.json", FEEDBACK_ROW, changed(FEEDBACK_ROW, preference=[0, 1]))
    (fault,) = check_data.check(path, True).faults
    assert 'field "preference" holds 2 labels; expected 6' in str(fault)


def test_demonstrations_have_their_own_fields(tmp_path: Path):
    path = write(tmp_path / "test.jsonl", changed(DEMONSTRATION_ROW, answer=["", 3], text=None, passages="x"))
    assert [
        str(fault).split("; ")[0].removeprefix(f"{path}:1: ") for fault in check_data.check(path, False).faults
    ] == [
        'field "text" is missing',
        'field "answer[0]" is empty',
        'field "answer[1]" must be text, got 3',
        'field "passages" must be a list, got "x"',
    ]


def test_many_faults_are_counted_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [changed(FEEDBACK_ROW, preference=[9, 1, 2, 1, 0, number % 7 + 3], gold="") for number in range(10)]
    write(tmp_path / "dev_feedback.jsonl", *rows)
    code, out, _ = run(tmp_path, capsys)
    assert code == 2
    assert "... and 10 more; all 30 by kind:" in out
    assert '10 times (lines 1, 2, 3, 4, 5, 6, 7, 8, ...): field "gold" is empty' in out
    assert '20 times (lines 1, 2, 3, 4, 5, 6, 7, 8, ...): field "preference[N]" holds the unknown label' in out


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b broken", b'{"a": 1}'])
def test_a_damaged_file_is_one_fault(tmp_path: Path, content: bytes):
    path = tmp_path / "train.json"
    path.write_bytes(content)
    (fault,) = check_data.check(path, False).faults
    assert str(fault).startswith(str(path))
    assert str(fault).endswith("(what follows was not read)")


def test_the_folder_has_to_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(tmp_path / "no", capsys)[0] == 2
    code, out, _ = run(tmp_path, capsys)
    assert (code, out.count("missing; needed for")) == (0, 6)


def test_it_needs_no_torch(tmp_path: Path):
    code = (
        "import sys; from posttrain import cli; "
        f"code = cli.main(['data', 'qa_feedback', '--check', {str(tmp_path)!r}]); "
        "assert code == 0 and not {'torch', 'transformers', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@real_data
def test_what_there_is_of_the_data_is_sound(capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(FOLDER, capsys)
    assert code == 0
    assert "1 (1,111), 2 (746), 0 (285)" in out
    assert "errors of prediction 1: Irrelevant (643), Wrong-Grounding (113), Unverifiable (109), Redundant (99)" in out
    assert "also there, and no file of the original: train_48.jsonl.gz, train_feedback_24.jsonl.gz" in out
