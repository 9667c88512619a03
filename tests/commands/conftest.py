"""A tiny reward model, and files of records for it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from posttrain.models.loading import load_tokenizer, new_scorer
from posttrain.models.scorer import STATISTICS_FILE

MEAN, STD = 0.25, 0.5


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory, model_folder) -> Callable[[str], Path]:
    """name of an architecture → folder of a reward model with random weights; never write into it."""
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            torch.manual_seed(3)
            scorer = new_scorer(str(model_folder(name)), 0.0)
            path = tmp_path_factory.mktemp("rewards") / name
            scorer.save(path)
            load_tokenizer(str(model_folder(name))).save_pretrained(path)
            (path / STATISTICS_FILE).write_text(json.dumps({"mean": MEAN, "std": STD, "num_responses": 9}))
            folders[name] = path
        return folders[name]

    return folder


@pytest.fixture
def write(tmp_path) -> Callable[[str, Sequence[Mapping[str, Any]]], Path]:
    def written(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return written


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
