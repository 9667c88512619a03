"""What a run is refused for before anything of it is written."""

from pathlib import Path
from typing import Any

import pytest

from tests.resume.small_runs import Command, config_of, write_config


def errors_of(config: dict[str, Any], tmp_path: Path) -> str:
    run = tmp_path / "run"
    file = write_config(tmp_path / "run.yaml", config)
    code, errors = Command(tmp_path / "errors", "train", file, "--out", run).finish()
    assert code == 2, errors
    assert not run.exists()
    return errors


@pytest.mark.parametrize("section", ["rollout", "rewards"])
def test_an_online_method_without_its_sections(section: str, material: Path, tmp_path: Path) -> None:
    config = config_of(material, "reinforce", num_steps=3)
    del config[section]
    assert f"{section}: missing; algorithm reinforce samples responses" in errors_of(config, tmp_path)


def test_an_offline_method_with_sections_of_an_online_one(material: Path, tmp_path: Path) -> None:
    config = config_of(material, "sft", num_steps=3)
    config["rollout"] = {"engine": "in_process"}
    assert "rollout, rewards, pretraining: algorithm sft learns from records" in errors_of(config, tmp_path)


@pytest.mark.parametrize(
    ("name", "setting"),
    [("reinforce", "algorithm.baseline=leave_one_out"), ("grpo", "algorithm.name=grpo"),
     ("rejection_sampling", "algorithm.name=rejection_sampling")],
)  # fmt: skip
def test_one_response_where_responses_are_compared(name: str, setting: str, material: Path, tmp_path: Path) -> None:
    config = config_of(material, "reinforce", num_steps=3)
    config["algorithm"] = {"name": name}
    config["rollout"]["samples_per_prompt"] = 1
    assert f"rollout.samples_per_prompt: {setting} compares responses" in errors_of(config, tmp_path)


def test_pretraining_texts_that_are_no_demonstrations(material: Path, tmp_path: Path) -> None:
    config = config_of(material, "ppo_adaptive", num_steps=3)
    config["pretraining"]["data"] = {"source": "preference_jsonl", "path": str(material / "pairs.jsonl")}
    expected = "pretraining.data: source preference_jsonl gives Comparison records; the algorithm needs Demonstration"
    assert expected in errors_of(config, tmp_path)
