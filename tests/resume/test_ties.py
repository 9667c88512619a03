"""A reward model whose ties have a learnt strength: trained, kept beside the head, and read again."""

import json
from pathlib import Path

import pytest
import torch

from posttrain import cli, run
from posttrain.config import load
from posttrain.data.jsonl import write_rows
from posttrain.errors import InputError
from posttrain.models.loading import load_scorer, new_scorer
from posttrain.models.scorer import TieScorer
from tests.resume.small_runs import config_of, write_config


@pytest.mark.parametrize("ties", ["davidson", "rao_kupper"])
def test_the_strength_is_learnt_kept_and_read_again(ties: str, material: Path, tmp_path: Path) -> None:
    config = config_of(material, "preference_reward_model", num_steps=4)
    rows = [
        {"prompt": "aa be", "responses": ["ci do", "eu"], "pairs": [[0, 1, 0 if place % 2 else 1]]}
        for place in range(16)
    ]
    write_rows(tmp_path / "pairs.jsonl", rows)
    source = {"source": "preference_jsonl", "path": str(tmp_path / "pairs.jsonl")}
    config["data"] |= {"train": source, "evaluation": dict(source)}
    config["algorithm"]["ties"] = ties
    file = write_config(tmp_path / "run.yaml", config)
    folder = run.train(load(file), tmp_path / "run")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "eval/tie_strength" in line]
    assert logged[-1]["eval/tie_strength"] != logged[0]["eval/tie_strength"]
    assert load_scorer(str(folder / "model"))[2].num_responses == 32
    words = ["evaluate", str(folder / "model"), "--config", str(file), "--out", str(tmp_path / "out.json")]
    assert cli.main(words) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["overall"]["tie_strength"] == pytest.approx(logged[-1]["eval/tie_strength"], rel=1e-6)
    assert found["loss"] == pytest.approx(logged[-1]["eval/loss"], rel=1e-5)


def test_a_reward_model_without_a_strength_is_named(material: Path) -> None:
    module = TieScorer(new_scorer(str(material / "t5"), 0.0))
    with pytest.raises(InputError, match=r"has no tie strength; give algorithm\.ties"):
        module.load_tie_strength(material / "reward")
    assert torch.equal(module.raw_tie_strength, torch.zeros(()))
