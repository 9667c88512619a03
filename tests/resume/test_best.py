"""The folder of the best model is that of an undisturbed run, wherever the run was killed."""

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.models.loading import load_language_model, load_scorer
from posttrain.models.scorer import STATISTICS_FILE
from tests.resume.small_runs import Command, bits, config_of, write_config

NUM_STEPS = 12
METRICS = {
    "sft": ("eval/length", "lowest"),
    "preference_reward_model": ("eval/accuracy", "highest"),
    "ppo": ("eval/length", "lowest"),
}


def config(material: Path, method: str) -> dict[str, Any]:
    made = config_of(material, method, NUM_STEPS)
    made["data"]["evaluation"] = dict(made["data"]["train"])
    made["evaluation"] = {"every": 2, "num_examples": 8, "generate": method != "preference_reward_model"}
    made["training"] |= {"learning_rate": 0.1, "schedule": "constant"}  # so high that it also gets worse
    made["checkpoint"] = {"every": 3, "best_metric": METRICS[method][0], "best_is": METRICS[method][1]}
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SLOW = ("sft",)  # of which ppo has the lowest value, too


@pytest.fixture(
    scope="module", params=[pytest.param(it, marks=pytest.mark.slow) if it in SLOW else it for it in METRICS]
)
def undisturbed(request: pytest.FixtureRequest, material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    file = write_config(folder / "run.yaml", config(material, request.param))
    code, errors = Command(folder / "errors", "train", file, "--out", folder / "run").finish()
    assert code == 0, errors
    return folder


def metric_of(folder: Path) -> str:
    return json.loads((folder / "run" / "best" / "best.json").read_text())["metric"]


def evaluations(folder: Path) -> list[tuple[int, float]]:
    """Step and best metric of each evaluation of the run."""
    metric = metric_of(folder)
    lines = map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line[metric]) for line in lines if metric in line]


def test_it_is_the_model_of_the_best_evaluation(undisturbed: Path) -> None:
    run, measured = undisturbed / "run", evaluations(undisturbed)
    found = json.loads((run / "best" / "best.json").read_text())
    assert [step for step, _ in measured] == list(range(0, NUM_STEPS + 1, 2))
    choose = max if found["metric"] == "eval/accuracy" else min
    assert (found["step"], found["value"]) == choose(measured, key=lambda each: each[1])  # the first of equals
    assert found["step"] < NUM_STEPS, "so that best/ is not just model/"
    assert files(run / "best").keys() - files(run / "model").keys() == {"best.json"}
    if found["metric"] == "eval/accuracy":
        load_scorer(str(run / "best"))
        assert (run / "best" / STATISTICS_FILE).exists(), "whole: it can be a reward"
    else:
        load_language_model(str(run / "best"), 0.0)


@pytest.mark.parametrize("moment", ["before an export", "after an export", "before a checkpoint", "at the end"])
def test_killed_and_resumed(undisturbed: Path, tmp_path: Path, moment: str) -> None:
    measured = [value for _, value in evaluations(undisturbed)]
    sign = 1 if metric_of(undisturbed) == "eval/accuracy" else -1
    num_exports = sum(
        all(sign * value > sign * earlier for earlier in measured[:i]) for i, value in enumerate(measured)
    )
    assert num_exports > 1
    die_at = {
        "before an export": ("posttrain.models.export._save", num_exports),
        "after an export": ("posttrain.assembly.best.log.info", num_exports),  # which no checkpoint knows of
        "before a checkpoint": ("posttrain.training.checkpoint.save", 2),
        "at the end": ("posttrain.models.export._save", num_exports + 1),
    }[moment]
    run, errors_file = tmp_path / "run", tmp_path / "errors"
    file = undisturbed / "run.yaml"
    assert Command(errors_file, "train", file, "--out", run, die_at=die_at).finish()[0] == -9
    code, errors = Command(errors_file, "resume", run).finish()
    assert code == 0, errors
    assert files(run / "best") == files(undisturbed / "run" / "best")
    assert bits(run) == bits(undisturbed / "run")
