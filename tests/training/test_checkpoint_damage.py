"""Every kind of damage is noticed and named, and the checkpoint before it is used."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from posttrain.errors import InputError
from posttrain.training import checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two checkpoints, of steps 1 and 2, with every kind of content."""
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(model.parameters())
    for step in (1, 2):
        model(torch.ones(1, 8)).sum().backward()
        optimizer.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "loop": {"best": 0.25, "name": "é"}}
        checkpoint.save(tmp_path, step, state, keep=2)
    return tmp_path


def test_a_thousand_flipped_bits_are_all_noticed(folder: Path):
    files = sorted((folder / "step-00000002").iterdir())
    draw = random.Random(0)
    places = [(file, position) for file in files for position in range(file.stat().st_size)]
    missed = []
    for file, position in draw.sample(places, 1000):
        intact = file.read_bytes()
        damaged = bytearray(intact)
        damaged[position] ^= 1 << draw.randrange(8)
        file.write_bytes(damaged)
        warnings: list[str] = []
        found = checkpoint.load_latest(folder, warnings.append)
        if found is None or found[0] != 1 or len(warnings) != 1 or str(file) not in warnings[0]:
            missed.append((file.name, position))
        file.write_bytes(intact)
    assert missed == []


def test_every_byte_of_the_manifest_counts(folder: Path):
    manifest = folder / "step-00000002" / "manifest.json"
    intact = manifest.read_bytes()
    for position in range(len(intact)):
        damaged = bytearray(intact)
        damaged[position] ^= 0x2A  # makes the blanks of the layout into other blanks
        manifest.write_bytes(damaged)
        assert str(manifest) in (checkpoint.verify(manifest.parent) or ""), position


def rewrite_manifest(path: Path, key: str, value: object) -> None:
    """As another version of the program, or a mistaken copy, would leave it: sealed well, but not for here."""
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["sha256"]
    manifest[key] = value
    (path / "manifest.json").write_text(checkpoint._seal(manifest))


def empty_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "cut": ("model.safetensors", lambda path: (path / "model.safetensors").open("r+b").truncate(100)),
    "longer": ("state.json", lambda path: (path / "state.json").open("a").write(" ")),
    "model missing": ("model.safetensors", lambda path: (path / "model.safetensors").unlink()),
    "optimizer missing": ("optimizer.safetensors", lambda path: (path / "optimizer.safetensors").unlink()),
    "state missing": ("state.json", lambda path: (path / "state.json").unlink()),
    "manifest missing": ("manifest.json", lambda path: (path / "manifest.json").unlink()),
    "manifest empty": ("manifest.json", lambda path: (path / "manifest.json").write_text("")),
    "manifest is a list": ("manifest.json", lambda path: (path / "manifest.json").write_text("[]")),
    "manifest nested": ("manifest.json", lambda path: (path / "manifest.json").write_text("[" * 100_000)),
    "empty folder": ("manifest.json", empty_folder),
    "files swapped": (
        "optimizer.safetensors",
        lambda path: shutil.copy(path / "model.safetensors", path / "optimizer.safetensors"),
    ),
    "other format": ("manifest.json: format 2", lambda path: rewrite_manifest(path, "format", 2)),
    "other step": ("manifest.json: belongs to step 9", lambda path: rewrite_manifest(path, "step", 9)),
    "is a file": ("manifest.json", lambda path: (shutil.rmtree(path), path.write_text("x"))),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_the_previous_one_used(folder: Path, name: str):
    culprit, damage = DAMAGES[name]
    damage(folder / "step-00000002")
    warnings: list[str] = []
    found = checkpoint.load_latest(folder, warnings.append)
    assert found is not None
    assert found[0] == 1
    assert len(warnings) == 1
    assert f"step-00000002/{culprit}" in warnings[0]


def test_all_damaged_is_an_error_that_changes_nothing(folder: Path):
    for step in (1, 2):
        (folder / f"step-0000000{step}" / "model.safetensors").write_bytes(b"")
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError, match=r"every checkpoint is damaged.*step-00000002.*step-00000001") as error:
        checkpoint.load_latest(folder, lambda message: None)
    assert error.value.exit_code == 2
    assert sorted(folder.rglob("*")) == before


def test_a_damaged_newer_one_does_not_push_out_good_ones(folder: Path):
    damaged = folder / "step-00000002"
    damaged.rename(folder / "step-00000009")  # so that it is of a step not yet reached, and wrong
    checkpoint.save(folder, 3, {"loop": 3}, keep=1)
    warnings: list[str] = []
    assert checkpoint.load_latest(folder, warnings.append) == (3, {"loop": 3})
    assert len(warnings) == 1
    checkpoint.save(folder, 9, {"loop": 9}, keep=1)
    assert checkpoint.load_latest(folder, warnings.append) == (9, {"loop": 9})
    assert [path.name for path in folder.iterdir()] == ["step-00000009"]
