"""The log of a run: strict JSON, the same bytes after a resume, and the same numbers at the trackers."""

import errno
import importlib.util
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from posttrain.diagnostics.watching import Trip
from posttrain.errors import EnvironmentFault, InputError
from posttrain.training import metrics as metrics_module
from posttrain.training.metrics import GENERATIONS, Config, Metrics, WandbSettings, check_trackers, open_sinks


class Listener:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.heard.append((step, dict(values)))

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], step: int) -> None:
        self.heard.append((name, list(columns), [list(row) for row in rows], step))

    def close(self) -> None:
        self.heard.append("closed")


def test_a_line_is_there_as_soon_as_it_is_logged(tmp_path: Path):
    metrics = Metrics(tmp_path)
    metrics.log(1, {"train/loss": 0.1, "count": 7})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "train/loss": 0.1, "count": 7}\n'
    timing = json.loads((tmp_path / "timings.jsonl").read_text())
    assert timing.keys() == {"step", "seconds"}
    assert timing["step"] == 1


def test_a_diagnostic_has_a_line_of_its_own_and_a_value_at_the_trackers(tmp_path: Path):
    listener = Listener()
    metrics = Metrics(tmp_path, [listener])
    metrics.log_trip(Trip("saturated", "train/saturated", 7, 0.75, 0.5))
    found = {"name": "saturated", "metric": "train/saturated", "value": 0.75, "threshold": 0.5}
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 7, "diagnostic": found}
    assert json.loads((tmp_path / "timings.jsonl").read_text())["step"] == 7
    assert listener.heard == [(7, {"diagnostics/saturated": 0.75})]


def test_what_is_not_finite_is_null_and_named(tmp_path: Path):
    listener = Listener()
    metrics = Metrics(tmp_path, [listener])
    metrics.log(2, {"loss": math.nan, "kl": -math.inf, "fine": 1.5})
    text = (tmp_path / "metrics.jsonl").read_text()
    line = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert line == {"step": 2, "loss": None, "kl": None, "fine": 1.5, "nonfinite": ["loss", "kl"]}
    assert math.isnan(listener.heard[0][1]["loss"])


@pytest.mark.parametrize("logged_after", [0, 1, 5])
def test_a_resumed_log_has_the_bytes_of_an_undisturbed_one(tmp_path: Path, logged_after: int):
    def log(metrics: Metrics, steps: range) -> None:
        for step in steps:
            metrics.log(step, {"loss": 1 / step})

    for name in ("undisturbed", "resumed"):
        (tmp_path / name).mkdir()
    log(Metrics(tmp_path / "undisturbed"), range(1, 11))
    first = Metrics(tmp_path / "resumed")
    log(first, range(1, 5))
    offset = first.offset()
    log(first, range(5, 5 + logged_after))
    with (tmp_path / "resumed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')  # killed while it wrote
    second = Metrics(tmp_path / "resumed")
    second.truncate_to(offset)
    assert second.offset() == offset
    log(second, range(5, 11))
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("undisturbed", "resumed")]
    assert logs[0] == logs[1]
    timings = [json.loads(line) for line in (tmp_path / "resumed" / "timings.jsonl").read_text().splitlines()]
    assert [timing["step"] for timing in timings] == list(range(1, 11))
    assert sorted(timing["seconds"] for timing in timings) == [timing["seconds"] for timing in timings]


def test_seconds_count_on_after_a_resume(tmp_path: Path):
    metrics = Metrics(tmp_path)
    metrics.log(1, {})
    (tmp_path / "timings.jsonl").write_text('{"step": 1, "seconds": 500.0}\n')
    resumed = Metrics(tmp_path)
    resumed.truncate_to(metrics.offset())
    resumed.log(2, {})
    assert 500 <= json.loads((tmp_path / "timings.jsonl").read_text().splitlines()[1])["seconds"] < 510


@pytest.mark.parametrize("damage", [lambda text: text[:-5], lambda text: text[:3] + "\n" + text[3:], lambda text: ""])
def test_a_log_that_is_not_the_checkpoints_is_refused(tmp_path: Path, damage):
    metrics = Metrics(tmp_path)
    metrics.log(1, {"loss": 0.5})
    offset = metrics.offset()
    log = tmp_path / "metrics.jsonl"
    log.write_text(damage(log.read_text()))
    before = log.read_bytes()
    with pytest.raises(InputError, match=r"metrics\.jsonl: not the log that the checkpoint continues"):
        Metrics(tmp_path).truncate_to(offset)
    assert log.read_bytes() == before


def test_tables(tmp_path: Path):
    listener = Listener()
    metrics = Metrics(tmp_path, [listener])
    columns, rows = ["prompt", "output", "reward"], [["Why?", "Weil es\nso ist.", 0.5], ["Who?", "", None]]
    path = metrics.log_table(GENERATIONS, columns, rows, step=4)
    assert path == tmp_path / "generations" / "step_4.jsonl"
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"prompt": "Why?", "output": "Weil es\nso ist.", "reward": 0.5},
        {"prompt": "Who?", "output": "", "reward": None},
    ]
    other = metrics.log_table("worst", columns, rows[:1], step=4)
    assert other == tmp_path / "generations" / "worst" / "step_4.jsonl"
    metrics.close()
    assert listener.heard == [
        ("eval_generation", columns, rows, 4),
        ("worst", columns, rows[:1], 4),
        "closed",
    ]


def test_a_full_disk_is_named(tmp_path: Path):
    metrics = Metrics(tmp_path)

    class FullFile:
        name = str(tmp_path / "metrics.jsonl")

        def write(self, line: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    metrics._lines = FullFile()  # type: ignore[assignment]
    with pytest.raises(EnvironmentFault, match=r"metrics\.jsonl: No space left on device; make room.*resume"):
        metrics.log(1, {"loss": 1.0})


def test_a_line_that_fits_in_parts_only_is_written_whole(tmp_path: Path):
    class Reluctant:
        name = "metrics.jsonl"
        written = b""

        def write(self, line: bytes) -> int:
            self.written += line[:3]
            return len(line[:3])

    file = Reluctant()
    metrics_module._append(file, {"step": 1})  # type: ignore[arg-type]
    assert file.written == b'{"step": 1}\n'


def test_an_absent_tracker_is_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_trackers(Config())
    with pytest.raises(InputError, match=r"metrics\.wandb: .*pip install 'posttrain\[wandb\]'"):
        check_trackers(Config(wandb=WandbSettings()))
    with pytest.raises(InputError, match=r"pip install 'posttrain\[tensorboard\]'"):
        open_sinks(Config(tensorboard=True), tmp_path, "abcd1234", {})
    assert list(tmp_path.iterdir()) == []


def test_what_wandb_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a stand-in: the table of step N is `eval_generation/step_N`, and metrics keep their names."""
    told: list[Any] = []

    class Run:
        def define_metric(self, name: str, step_metric: str) -> None:
            told.append((name, step_metric))

        def log(self, values: dict[str, Any]) -> None:
            told.append(values)

        def finish(self) -> None:
            told.append("finished")

    wandb = ModuleType("wandb")
    wandb.__spec__ = ModuleSpec("wandb", None)
    made: dict[str, Any] = {}
    table = lambda columns, data, allow_mixed_types: ("table", columns, data)  # noqa: E731
    parts = {"init": lambda **named: made.update(named) or Run(), "Table": table, "Settings": lambda **named: named}
    for name, part in parts.items():
        setattr(wandb, name, part)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    settings = WandbSettings(project="qa", mode="offline")
    metrics = Metrics(tmp_path, open_sinks(Config(wandb=settings), tmp_path, "abcd1234", {"seed": 1}))
    metrics.log(100, {"eval/rougeL": 0.25, "eval/rougeLsum": 0.5})
    metrics.log_table(GENERATIONS, ["prompt", "output"], [["Why?", "So."]], 100)
    metrics.close()
    assert told == [
        ("*", "step"),
        {"eval/rougeL": 0.25, "eval/rougeLsum": 0.5, "step": 100},
        {"eval_generation/step_100": ("table", ["prompt", "output"], [["Why?", "So."]]), "step": 100},
        "finished",
    ]
    assert {name: made[name] for name in ("project", "mode", "id", "config", "dir")} == {
        "project": "qa", "mode": "offline", "id": "abcd1234", "config": {"seed": 1}, "dir": tmp_path,
    }  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed (posttrain[wandb])")
def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for step in (1, 2):  # a run and its resume
        sinks = open_sinks(Config(wandb=WandbSettings()), tmp_path, "abcd1234", {"seed": 1})
        metrics = Metrics(tmp_path, sinks)
        metrics.log(step, {"loss": 0.5})
        metrics.log_table(GENERATIONS, ["prompt", "reward"], [["Why?", 0.5], ["Who?", None]], step)
        metrics.close()
    tables = sorted(tmp_path.glob("wandb/offline-run-*-abcd1234/files/media/table/eval_generation/step_*.table.json"))
    assert len(tables) == 2
    assert {path.name.split("_")[1] for path in tables} == {"1", "2"}
    assert json.loads(tables[0].read_text()) == {
        "columns": ["prompt", "reward"],
        "data": [["Why?", 0.5], ["Who?", None]],
    }


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed (posttrain[tensorboard])"
)
def test_tensorboard(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics = Metrics(tmp_path, open_sinks(Config(tensorboard=True), tmp_path, "abcd1234", {}))
    for step in (1, 2):
        metrics.log(step, {"train/loss": 0.5 / step})
    metrics.log_table(GENERATIONS, ["prompt"], [["<b>Why?</b>"]], 2)
    metrics.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 0.5), (2, 0.25)]
    (text,) = events.Tensors("eval_generation/step_2/text_summary")
    assert text.tensor_proto.string_val == [b'    {"prompt": "<b>Why?</b>"}']
