"""The built-in models are what their configs in configs/ say, and docs/models.md what they are."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml

from posttrain.models.loading import load_language_model, locate

ROOT = Path(__file__).parents[2]
FAMILIES = ["encoder_decoder", "decoder_only"]


def config(family: str) -> dict:
    return yaml.safe_load((ROOT / "configs" / f"base_{family}.yaml").read_text())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shape_is_that_of_the_config(family):
    made = json.loads((Path(locate(f"builtin/{family}")) / "config.json").read_text())
    wanted = config(family)["model"]["architecture"]
    assert {key: made[key] for key in wanted} == wanted
    assert made["vocab_size"] <= config(family)["model"]["tokenizer"]["vocab_size"]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_watched_on_the_kinds_of_text_that_it_is_trained_on(family):
    data = config(family)["data"]
    train, evaluation = (
        {**data[use], "pretraining": {**data[use].get("pretraining", {})}} for use in ("train", "evaluation")
    )
    train["pretraining"].pop("first")
    for own in ("num", "seed"):
        train.pop(own, None)
        evaluation.pop(own, None)
    assert train == evaluation


@pytest.mark.parametrize("family", FAMILIES)
def test_the_page_about_the_models_is_true(family):
    folder = Path(locate(f"builtin/{family}"))
    lines = (ROOT / "docs" / "models.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith(f"| `builtin/{family}`")]
    weights = (folder / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() in row
    assert len(weights) < 4e6
    model = load_language_model(f"builtin/{family}", 0.0).model
    assert f"{sum(parameter.numel() for parameter in model.parameters()):,}" in row
    assert f"{config(family)['training']['num_steps']:,}" in re.sub(r"`[^`]*`", "", row)
