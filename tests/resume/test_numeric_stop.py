"""A run whose numbers are not finite ends with code 4, says at which step, and keeps the prompts of that batch."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.resume.small_runs import METHODS, Command, config_of, status_of, write_config


def write_bad_copy(folder: Path, copy: Path) -> Path:
    """A model folder with one weight, of a norm that every token goes through, that is no number."""
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    name = max(name for name in tensors if "norm" in name or "ln_f" in name)
    tensors[name][0] = torch.nan
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_that_is_no_number(material: Path, tmp_path: Path, method: str) -> None:
    config = config_of(material, method, num_steps=3)
    config["model"]["path"] = str(write_bad_copy(Path(config["model"]["path"]), tmp_path / "bad"))
    run, errors_file = tmp_path / "run", tmp_path / "errors"
    code, errors = Command(errors_file, "train", write_config(tmp_path / "run.yaml", config), "--out", run).finish()
    assert code == 4, errors
    assert "posttrain: step 1: loss and" in errors
    assert f"its prompts are in {run / 'numeric_stop.json'}" in errors
    stop = json.loads((run / "numeric_stop.json").read_text())
    assert stop["step"] == 1
    assert 1 <= len(stop["prompts"]) <= 8
    assert all(set(prompt) == {"id", "prompt"} and prompt["prompt"] for prompt in stop["prompts"])
    assert (status_of(run)["state"], status_of(run)["step"]) == ("stopped", 0)
    assert list((run / "checkpoints").iterdir()) == []


def test_a_reward_that_is_no_number(material: Path, tmp_path: Path) -> None:
    config = config_of(material, "ppo", num_steps=3)
    config["rewards"][0]["model"] = str(write_bad_copy(material / "reward", tmp_path / "bad"))
    run, errors_file = tmp_path / "run", tmp_path / "errors"
    file = write_config(tmp_path / "run.yaml", config)
    code, errors = Command(errors_file, "train", file, "--out", run).finish()
    assert code == 4, errors
    assert "step 1: reward sequence_model gave a score that is not finite" in errors
    assert len(json.loads((run / "numeric_stop.json").read_text())["prompts"]) == 16
