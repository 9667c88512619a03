"""Checkpoints that are whole or absent, notice damage, and run no code when they are read.

    checkpoints/step-00000040/model.safetensors       the tensors of state["model"]
                              optimizer.safetensors   ... one such file for each entry that has tensors
                              state.json              everything that is not a tensor
                              manifest.json           format, step, size and SHA-256 of each file, and its own SHA-256

A checkpoint is written under a temporary name, forced to the disk, and only then renamed: the name `step-...` never
belongs to a part of one. The manifest makes a later change of any byte visible, and the newest undamaged one is used.
"""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from posttrain import durable_files
from posttrain.errors import EnvironmentFault, InputError

FORMAT = 1


def save(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> Path:
    """Write `state` as the checkpoint of `step` and delete all but the newest `keep` checkpoints up to `step`.

    `state` maps entry names to nested dicts, lists and tuples (read back as lists) of tensors, numbers, strings,
    booleans and None; dict keys are strings or integers. Tensors that are the same memory stay one tensor.
    Raises EnvironmentFault where the disk refuses; the earlier checkpoints are then as they were.
    """
    assert keep >= 1
    flat = {name: _Flattener() for name in state}
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in flat), f"entries name files: {list(flat)}"
    structure = json.dumps({name: flat[name].flatten(value, ()) for name, value in state.items()}, allow_nan=False)
    tensors = {f"{name}.safetensors": entry.tensors for name, entry in flat.items() if entry.tensors}
    final = folder / f"step-{step:08d}"
    temporary = folder / f".tmp-{final.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        durable_files.make_folder(temporary)
        for name, entry in tensors.items():
            _write_tensors(temporary / name, entry)
        durable_files.write_text(temporary / "state.json", structure)
        durable_files.write_text(temporary / "manifest.json", _manifest(temporary, step))
        durable_files.sync(temporary)
        _publish(temporary, final)
        for old in [path for path in _checkpoints(folder) if _step(path) <= step][:-keep]:
            _discard(old)
    except OSError as fault:
        shutil.rmtree(temporary, ignore_errors=True)
        needed = len(structure) + sum(tensor.nbytes for entry in tensors.values() for tensor in entry.values())
        raise EnvironmentFault(
            f"{fault.filename or final}: {fault.strerror}. The checkpoint of step {step} needs {needed:,} bytes and "
            f"the disk has {_free_bytes(folder):,} free. The earlier checkpoints are untouched: make room, then resume."
        ) from fault
    return final


def load_latest(folder: Path, warn: Callable[[str], None]) -> tuple[int, dict[str, Any]] | None:
    """Step and state (on the CPU) of the newest undamaged checkpoint, or None where there is none at all.

    `warn` hears of each newer one that is passed over, with the damaged file's name. Raises InputError where there
    are checkpoints but each is damaged; nothing on the disk is changed.
    """
    damaged = []
    for path in reversed(_checkpoints(folder)):
        damage = verify(path)
        if damage is None:
            return _step(path), _load(path)
        warn(f"passing over a damaged checkpoint: {damage}")
        damaged.append(damage)
    if damaged:
        raise InputError(
            f"{folder}: every checkpoint is damaged ({'; '.join(damaged)}). Put an undamaged copy back, "
            "or start the run again in another folder."
        )
    return None


def verify(path: Path) -> str | None:
    """What is wrong with the checkpoint `path`, beginning with the name of the damaged file; None where nothing is."""
    try:
        manifest = _read_manifest(path)
        for name, expected in manifest["files"].items():
            size = (path / name).stat().st_size
            if size != expected["size"]:
                return f"{path / name}: {size} bytes, of {expected['size']} written"
            if _sha256(path / name) != expected["sha256"]:
                return f"{path / name}: the content has changed since it was written (SHA-256)"
    except OSError as fault:
        return f"{fault.filename}: {fault.strerror}"
    except _BadManifest as fault:
        return f"{path / 'manifest.json'}: {fault}"
    return None


def remove_leftovers(folder: Path) -> None:
    """Tidy up after a save that was cut short. Only for the one process that writes here."""
    for path in folder.glob(".replaced-*"):
        final = folder / path.name.removeprefix(".replaced-")
        if final.exists():
            durable_files.remove_tree(path)
        else:
            durable_files.rename(path, final)
    for path in folder.glob(".tmp-*"):
        durable_files.remove_tree(path)


class _Flattener:
    """Takes the tensors out of a nested value and leaves JSON behind, with their names where they were.

    JSON knows neither tensors nor NaN nor dicts with integer keys (an optimizer's state has those), so these are
    written {"$tensor": name}, {"$float": text} and {"$pairs": [[key, value], ...]}.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self._name_of_memory: dict[tuple[object, ...], str] = {}
        self._storages: set[int] = set()

    def flatten(self, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, torch.Tensor):
            return {"$tensor": self._add(value.detach(), ".".join(path) or "value")}
        if isinstance(value, Mapping):
            pairs = [(key, self.flatten(item, (*path, str(key)))) for key, item in value.items()]
            if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
                return dict(pairs)
            if all(isinstance(key, str | int) for key, _ in pairs):
                return {"$pairs": pairs}
        if isinstance(value, list | tuple):
            return [self.flatten(item, (*path, str(index))) for index, item in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            return {"$float": str(float(value))}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"a checkpoint cannot hold {'.'.join(path)}, a {type(value).__name__}: {value!r:.100}")

    def _add(self, tensor: torch.Tensor, name: str) -> str:
        storage = tensor.untyped_storage().data_ptr()
        memory = (storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if tensor.numel() and memory in self._name_of_memory:
            return self._name_of_memory[memory]  # a tied weight, such as the output layer of most language models
        while name in self.tensors or name == "__metadata__":  # the format keeps that name for itself
            name += "'"
        packed = tensor.cpu().contiguous()
        if packed.untyped_storage().data_ptr() in self._storages:
            packed = packed.clone()  # safetensors refuses two views of one storage
        self._storages.add(packed.untyped_storage().data_ptr())
        self._name_of_memory[memory] = name
        self.tensors[name] = packed
        return name


def _unflatten(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$float" in value:
        return float(value["$float"])
    pairs = value["$pairs"] if "$pairs" in value else value.items()
    return {key: _unflatten(item, tensors) for key, item in pairs}


def _write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    try:
        save_file(dict(tensors), path)
    except SafetensorError as fault:  # safetensors wraps what the operating system said
        raise OSError(None, str(fault), str(path)) from fault
    durable_files.sync(path)


def _load(path: Path) -> dict[str, Any]:
    state = {}
    for name, structure in json.loads((path / "state.json").read_text(encoding="utf-8")).items():
        file = path / f"{name}.safetensors"
        state[name] = _unflatten(structure, load_file(file) if file.exists() else {})
    return state


class _BadManifest(Exception):
    """The manifest is not what `_manifest` wrote, or not for this place."""


def _manifest(folder: Path, step: int) -> str:
    sizes = {path.name: {"size": path.stat().st_size, "sha256": _sha256(path)} for path in folder.iterdir()}
    return _seal({"format": FORMAT, "step": step, "files": sizes})


def _seal(body: Mapping[str, Any]) -> str:
    checksum = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "sha256": checksum}, sort_keys=True, indent=1) + "\n"


def _read_manifest(path: Path) -> dict[str, Any]:
    text = (path / "manifest.json").read_bytes()
    try:
        body = json.loads(text)
        del body["sha256"]
        is_intact = _seal(body).encode() == text  # compared whole: a changed blank is noticed as a changed number is
    except (ValueError, KeyError, TypeError, RecursionError):
        body, is_intact = {}, False
    if not is_intact:
        raise _BadManifest("the content has changed since it was written (SHA-256)")
    if body["format"] != FORMAT:
        raise _BadManifest(f"format {body['format']}, where this version reads format {FORMAT}")
    if body["step"] != _step(path):
        raise _BadManifest(f"belongs to step {body['step']}")
    return body


def _publish(temporary: Path, final: Path) -> None:
    """Rename `temporary` to `final`; where that exists (damaged, and done again), a crash leaves one of the two."""
    replaced = final.with_name(f".replaced-{final.name}")
    if final.exists():
        durable_files.rename(final, replaced)
    durable_files.rename(temporary, final)
    if replaced.exists():
        durable_files.remove_tree(replaced)


def _discard(path: Path) -> None:
    """Delete a checkpoint; renamed first, so that one deleted by half does not pass for a damaged one."""
    leftover = path.with_name(f".tmp-{path.name}")
    durable_files.rename(path, leftover)
    durable_files.remove_tree(leftover)


def _checkpoints(folder: Path) -> list[Path]:
    """Paths of all checkpoints in `folder`, the oldest first."""
    return sorted((path for path in folder.glob("step-*") if path.name[5:].isdecimal()), key=_step)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _free_bytes(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free
