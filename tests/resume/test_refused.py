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
    assert "rollout, rewards: algorithm sft learns from records" in errors_of(config, tmp_path)


def test_one_response_where_responses_are_compared(material: Path, tmp_path: Path) -> None:
    config = config_of(material, "reinforce", num_steps=3)
    config["algorithm"] = {"name": "reinforce"}
    config["rollout"]["samples_per_prompt"] = 1
    assert "rollout.samples_per_prompt: algorithm.baseline=leave_one_out" in errors_of(config, tmp_path)
