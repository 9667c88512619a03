"""The best evaluation so far: which it is, what is written of it, and that settings which cannot work are refused."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from posttrain.assembly.best import Best, check_best
from posttrain.config import CheckpointSettings
from posttrain.errors import InputError

METRIC = "eval/rougeL"


class Writer:
    """Stands in for the export: a folder with the files that it is given."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path, files: Mapping[str, str]) -> None:
        self.times += 1
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)


def best(folder: Path, best_is: Literal["highest", "lowest"] = "highest", metric: str = METRIC) -> Best:
    return Best(CheckpointSettings(best_metric=metric, best_is=best_is), folder / "best", Writer())


def written(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "best" / "best.json").read_text())


@pytest.mark.parametrize(
    ("best_is", "values", "steps"),
    [("highest", [0.2, 0.1, 0.3, 0.3, 0.25], [0, 2]), ("lowest", [0.2, 0.3, 0.1, 0.1, 0.05], [0, 2, 4])],
)
def test_only_a_better_evaluation_is_exported(tmp_path: Path, best_is: Any, values: list[float], steps: list[int]):
    it, seen = best(tmp_path, best_is), []
    for step, value in enumerate(values):
        it.see(step, {METRIC: value, "eval/loss": -value})
        seen.append(written(tmp_path))
    exported = [step for step, found in enumerate(seen) if found["step"] == step]
    assert exported == steps
    assert it.write.times == len(steps)
    assert written(tmp_path) == {"step": steps[-1], "metric": METRIC, "value": values[steps[-1]]}


def test_what_is_absent_or_no_number_is_passed_over(tmp_path: Path):
    it = best(tmp_path)
    for step, value in enumerate([math.nan, math.inf, -math.inf]):
        it.see(step, {METRIC: value})
    it.see(3, {"eval/loss": 1.0})
    Best(CheckpointSettings(), tmp_path / "best", it.write).see(4, {METRIC: 1.0})
    assert not (tmp_path / "best").exists()
    it.see(5, {METRIC: -2.0})
    assert written(tmp_path)["step"] == 5


def test_it_goes_on_from_a_checkpoint(tmp_path: Path):
    first = best(tmp_path)
    first.see(1, {METRIC: 0.3})
    state = json.loads(json.dumps(first.state_dict()))
    first.see(2, {METRIC: 0.4})
    second = best(tmp_path)
    second.load_state_dict(state)
    second.see(2, {METRIC: 0.2})
    assert second.write.times == 0
    second.see(3, {METRIC: 0.35})
    assert written(tmp_path) == {"step": 3, "metric": METRIC, "value": 0.35}


@pytest.mark.parametrize("changed", [{"metric": "eval/loss"}, {"best_is": "lowest"}])
def test_another_question_starts_anew(tmp_path: Path, changed: dict[str, Any]):
    first = best(tmp_path)
    first.see(1, {METRIC: 0.3, "eval/loss": 0.3})
    second = best(tmp_path, **changed)
    second.load_state_dict(first.state_dict())
    second.see(2, {METRIC: 0.3, "eval/loss": 0.3})
    assert written(tmp_path)["step"] == 2


def test_a_folder_that_is_gone_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    best(tmp_path).load_state_dict(best(tmp_path).state_dict())
    assert not caplog.messages
    best(tmp_path).load_state_dict(best(tmp_path).state_dict() | {"step": 3, "value": 1.0})
    assert "best is gone, and comes back only with an evaluation better than that of step 3" in caplog.text


@pytest.mark.parametrize("half", [{"best_metric": METRIC}, {"best_is": "lowest"}])
def test_metric_and_direction_go_together(half: dict[str, Any]):
    with pytest.raises(ValueError, match=r"best_metric and best_is .* go together"):
        CheckpointSettings(**half)


def test_a_metric_that_is_never_logged_is_refused_with_the_nearest_name():
    check_best(None, [])
    check_best(METRIC, ["eval/loss", METRIC])
    with pytest.raises(
        InputError,
        match=r"checkpoint\.best_metric: 'eval/rogueL' is no metric .*did you mean eval/rougeL\? "
        r"\(there: eval/loss, eval/rougeL\)",
    ):
        check_best("eval/rogueL", ["eval/loss", METRIC])
    with pytest.raises(InputError, match=r"\(there: none\)"):
        check_best(METRIC, [])
