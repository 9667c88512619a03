"""Tensor shapes are checked while testing, and tiny model folders are made once for all tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
install_import_hook(
    [
        "posttrain.functional",
        *(f"posttrain.models.{name}" for name in ("actor_critic", "families", "heads", "language_model", "scorer")),
        "posttrain.models.spans",
    ],
    "beartype.beartype",
)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Callable[[str], Path]:
    """name → folder of a tiny model with random weights, made when it is first asked for; never write into it."""
    from tests.tiny_models import write_model  # after the hook: what it imports is to be checked

    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = write_model(name, tmp_path_factory.mktemp("models") / name)
        return folders[name]

    return folder
