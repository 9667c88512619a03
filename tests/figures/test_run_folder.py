"""Reading what a run left: sound, unfinished and damaged files."""

import json
import math

import pytest

from posttrain.diagnostics.watching import Trip
from posttrain.errors import InputError
from posttrain.figures.run_folder import flatten, read_last_generations, read_metrics, read_pair_scores, read_trips

FOUND = {"name": "saturated", "metric": "train/saturated", "value": 0.75, "threshold": 0.5}


def write(path, text):
    path.write_text(text)
    return path


def test_metrics_by_name_in_order_of_step(tmp_path):
    path = write(
        tmp_path / "metrics.jsonl",
        '{"step": 2, "a": 5}\n{"step": 1, "a": 1, "note": "x", "ok": true}\n{"step": 2, "a": 3, "b": null}\n',
    )
    curves = read_metrics(path)
    assert curves["a"] == [(1.0, 1.0), (2.0, 3.0)]
    assert math.isnan(curves["b"][0][1])
    assert set(curves) == {"a", "b"}


def test_an_unfinished_last_line_is_left_out(tmp_path):
    cut_off = '{"step": 1, "a": 1}\n{"step": 2, "a"'
    assert read_metrics(write(tmp_path / "metrics.jsonl", cut_off)) == {"a": [(1.0, 1.0)]}
    assert read_metrics(write(tmp_path / "metrics.jsonl", "")) == {}


@pytest.mark.parametrize("line", ["{oops", "[1]", '{"a": 1}', '{"step": "one"}', '{"step": true}'])
def test_a_damaged_line_is_named(tmp_path, line):
    with pytest.raises(InputError, match=r"metrics\.jsonl:2: "):
        read_metrics(write(tmp_path / "metrics.jsonl", '{"step": 1, "a": 1}\n' + line + "\n"))


def test_diagnostics_are_no_curves(tmp_path):
    lines = [{"step": 6, "train/saturated": 0.9}, {"step": 6, "diagnostic": FOUND}]
    path = write(tmp_path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert read_metrics(path) == {"train/saturated": [(6.0, 0.9)]}
    assert read_trips(path) == [Trip("saturated", "train/saturated", 6, 0.75, 0.5)]


@pytest.mark.parametrize(
    ("step", "found"),
    [
        (6, 3),
        ("six", FOUND),
        (6, FOUND | {"name": "saturation"}),
        (6, FOUND | {"metric": None}),
        (6, FOUND | {"value": "much"}),
    ],
)
def test_a_damaged_diagnostic_is_named(tmp_path, step, found):
    line = json.dumps({"step": step, "diagnostic": found}) + "\n"
    with pytest.raises(InputError, match=r"metrics\.jsonl:2: "):
        read_trips(write(tmp_path / "metrics.jsonl", '{"step": 1, "a": 1}\n' + line))


def test_missing_metrics_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_newest_generations_by_number_not_by_name(tmp_path):
    for step in (9, 100):
        row = {"prompt": "p", "output": f"at {step}", "reward": step, "cut": False}
        write(tmp_path / f"step_{step}.jsonl", json.dumps(row) + "\n")
    write(tmp_path / "step_last.jsonl", "not a table")
    step, (row,) = read_last_generations(tmp_path)
    assert step == 100
    assert row.texts == {"prompt": "p", "output": "at 100"}
    assert row.numbers == {"reward": 100}
    assert read_last_generations(tmp_path / "none") == (0, [])


def test_pair_scores(tmp_path):
    path = write(tmp_path / "pair_scores.jsonl", '{"better": 1, "worse": -1.5}\n{"better": 0.5, "worse": 2}\n')
    assert read_pair_scores(path) == ([1.0, 0.5], [-1.5, 2.0])
    with pytest.raises(InputError, match=r"pair_scores\.jsonl:1: "):
        read_pair_scores(write(path, '{"better": 1}\n'))


def test_facts_are_flat():
    assert flatten({"a": {"b": 0.123456, "c": [1, "x"]}, "d": 7}) == {"a.b": "0.1235", "a.c": "1, x", "d": "7"}
