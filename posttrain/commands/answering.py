"""What the commands share: a place for what they write."""

from pathlib import Path

from posttrain.errors import InputError

ANY_LENGTH = 2**30
"""Tokens; the limit of an encoder where only the model's positions count."""


def check_output(path: Path, inputs: tuple[Path, ...], endings: tuple[str, ...] = (), option: str = "--out") -> None:
    """InputError, before any work is done, for an output that could not be written or would replace an input."""
    if endings and not path.name.lower().endswith(endings):
        raise InputError(f"{option} {path}: give a name that ends in {' or '.join(endings)}")
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; name a file in it")
    ancestor = next(folder for folder in (path.parent, *path.parent.parents) if folder.exists())
    if not ancestor.is_dir():
        raise InputError(f"{option} {path}: {ancestor} is not a folder; give another path")
    for other in inputs:
        if other.exists() and other.resolve() == path.resolve():
            raise InputError(f"{option} {path}: would replace the input; give another path")
