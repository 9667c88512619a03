"""A span reward model as a run: what it leaves in its folder, and how training goes on from there."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from posttrain import cli, run
from posttrain.config import load
from posttrain.errors import InputError
from posttrain.models.loading import load_span_scorer, new_scorer
from posttrain.models.spans.report import lines_of, read_span_report
from tests.resume.small_runs import config_of, write_config
from tests.tiny_models import random_sequences


def config(material: Path, model: str = "t5", num_steps: int = 6, **changes: Any) -> dict[str, Any]:
    made = config_of(material, "span_reward_model", num_steps)
    made["model"]["path"] = str(material / model)
    made["model"]["dropout"] = 0.0
    made["algorithm"] |= changes
    return made


def trained(folder: Path, made: dict[str, Any], name: str = "run") -> Path:
    return run.train(load(write_config(folder / f"{name}.yaml", made)), folder / name)


def logged(folder: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


@pytest.mark.parametrize("model", ["t5", "llama"])
def test_the_folder_scores_as_the_run_and_training_goes_on_from_it(model: str, material: Path, tmp_path: Path, caplog):
    caplog.set_level(logging.INFO)
    made = config(material, model)
    folder = trained(tmp_path, made)
    scorer, _ = load_span_scorer(str(folder / "model"))
    report = read_span_report(folder / "model")
    for name, number in (("accuracy", report.accuracy), ("f1/good", report.classes["good"].f1),
                         ("recall/wrong", report.classes["wrong"].recall)):  # fmt: skip
        assert logged(folder, f"eval/{name}")[-1] == pytest.approx(number)
    assert all(f"{name}: {line}" in caplog.messages for name, line in lines_of(report).items())
    assert report.num_spans == 160
    counts = [report.classes[name].num_spans for name in ("good", "wrong", "vague")]
    assert scorer.log_weights.exp().tolist() == pytest.approx([160 / (3 * count) for count in counts])

    made["model"]["path"] = str(folder / "model")
    again = trained(tmp_path, made, "again")
    first, last = logged(again, "eval/loss")[0], logged(folder, "eval/loss")[-1]
    assert first == pytest.approx(last, rel=1e-5), "it begins where the other ended"
    assert logged(again, "eval/loss")[-1] < first
    resumed = run.resume(again)
    assert resumed == again


def test_the_moments_are_those_of_what_it_gives(material: Path, tmp_path: Path):
    folder = trained(tmp_path, config(material, num_steps=2))
    report = read_span_report(folder / "model")
    assert -2 < report.expected.mean < 1
    assert report.expected.std > 0
    assert report.likeliest.mean * 160 == pytest.approx(round(report.likeliest.mean * 160)), "1, -1 or -2 each"


def test_training_goes_on_with_the_same_settings_only(material: Path, tmp_path: Path):
    folder = trained(tmp_path, config(material, num_steps=1))
    for changes in ({"pooling": "last"}, {"pattern": r"\w"}, {"good_value": 2.0}):
        made = config(material, num_steps=1, **changes)
        made["model"]["path"] = str(folder / "model")
        with pytest.raises(InputError, match="judges other spans or classes; give algorithm the same settings"):
            trained(tmp_path, made, "other")
        assert not (tmp_path / "other").exists(), "nothing is written"
    made = config(material, num_steps=1, class_weights="none")
    made["model"]["path"] = str(folder / "model")
    again = trained(tmp_path, made, "again")
    assert not load_span_scorer(str(again / "model"))[0].log_weights.any(), "they are of the run and not of the model"


def test_other_commands_say_what_the_folder_is(material: Path, tmp_path: Path, capsys):
    folder = trained(tmp_path, config(material, num_steps=1))
    model, data = str(folder / "model"), str(material / "spans.jsonl")
    assert cli.main(["evaluate", model, "--config", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "e.json")]) == 0
    assert json.loads((tmp_path / "e.json").read_text())["measures"]["f1/wrong"]["low"] <= 1
    assert cli.main(["score", model, "--data", data, "--out", str(tmp_path / "o.jsonl")]) == 2
    assert "is not a reward model; train one with algorithm preference_reward_model" in capsys.readouterr().err
    assert not list(tmp_path.glob("o.json*"))


@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_a_reward_model_of_responses_goes_on_too_where_it_has_no_language_model_head(
    dtype: str, material: Path, tmp_path: Path
):
    made = config_of(material, "preference_reward_model", 2)
    made["model"] |= {"path": str(material / "llama"), "dropout": 0.0}
    folder = trained(tmp_path, made)
    made["model"] |= {"path": str(folder / "model"), "compute_dtype": dtype}
    again = trained(tmp_path, made, "again")
    if dtype == "float32":
        assert logged(again, "eval/loss")[0] == pytest.approx(logged(folder, "eval/loss")[-1], rel=1e-5)
    sequences = random_sequences([3], [[4]])
    with torch.no_grad():
        assert new_scorer(str(again / "model"), 0.0).eval()(sequences).isfinite().all()
