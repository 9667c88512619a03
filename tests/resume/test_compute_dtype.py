"""A number format that is left to a measurement is written down, and a resumed run keeps it."""

from pathlib import Path

import pytest
import torch
import yaml

from posttrain import run
from posttrain.config import load
from tests.resume.small_runs import config_of, write_config


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_what_was_measured_is_recorded(dtype, material: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(run, "faster_dtype", lambda module, config, device: dtype)
    config = config_of(material, "sft", num_steps=1)
    config["model"]["compute_dtype"] = "auto"
    folder = run.train(load(write_config(tmp_path / "run.yaml", config)), tmp_path / "run")
    recorded = yaml.safe_load((folder / "config.yaml").read_text())
    assert recorded["model"]["compute_dtype"] == str(dtype).removeprefix("torch.")


def test_the_format_reaches_the_products(material: Path, tmp_path: Path) -> None:
    losses = []
    for dtype in ("float32", "bfloat16"):
        config = config_of(material, "sft", num_steps=1)
        config["model"]["compute_dtype"] = dtype
        folder = run.train(load(write_config(tmp_path / f"{dtype}.yaml", config)), tmp_path / dtype)
        losses.append((folder / "metrics.jsonl").read_text())
    assert losses[0] != losses[1]
