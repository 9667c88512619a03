"""A model's folder is whole or not there, and replaced only by another whole one."""

import errno
import os
from pathlib import Path

import pytest
import torch

from posttrain import durable_files
from posttrain.errors import EnvironmentFault
from posttrain.models import export as export_module
from posttrain.models.export import export
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import Pretrained, load_language_model
from tests.tiny_models import write_model


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    folder = tmp_path_factory.mktemp("model")
    write_model("t5", folder)
    return load_language_model(str(folder), 0.0)


def write(start: Pretrained, folder: Path, word: str) -> None:
    def add(unfinished: Path) -> None:
        (unfinished / "word").write_text(word)

    export(LanguageModel(start.model), start.tokenizer, folder, torch.float32, add)


def test_files_are_added_and_earlier_ones_replaced(start: Pretrained, tmp_path: Path):
    for word in ("one", "two"):
        write(start, tmp_path / "best", word)
        assert (tmp_path / "best" / "word").read_text() == word
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    load_language_model(str(tmp_path / "best"), 0.0)


@pytest.mark.parametrize("fails", ["_save", "first rename", "second rename"])
def test_what_cannot_be_written_leaves_the_earlier_folder(
    start: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
):
    write(start, tmp_path / "best", "one")
    calls = []

    def refuse(*arguments: object) -> None:
        calls.append(arguments)
        if fails == "second rename" and len(calls) == 1:
            return rename(*arguments)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    rename = durable_files.rename
    monkeypatch.setattr(*((export_module, "_save") if fails == "_save" else (durable_files, "rename")), refuse)
    with pytest.raises(EnvironmentFault, match=r"best: No space left on device; make room .* then resume"):
        write(start, tmp_path / "best", "two")
    monkeypatch.undo()
    folder = tmp_path / (".replaced-best" if fails == "second rename" else "best")
    assert (folder / "word").read_text() == "one"
    write(start, tmp_path / "best", "three")
    assert (tmp_path / "best" / "word").read_text() == "three"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
