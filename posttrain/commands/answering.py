"""What the commands share: a model made ready to answer, and a place for what they write."""

from pathlib import Path

from posttrain.errors import InputError
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import Pretrained, freeze, load_language_model
from posttrain.training.distributed import start_ranks

ANY_LENGTH = 2**30
"""Tokens; the limit of an encoder where only the model's positions count."""


def load_frozen(path: str) -> tuple[LanguageModel, Pretrained]:
    """A language model on this machine's device, without dropout and gradients."""
    device = start_ranks().device
    start = load_language_model(path, 0.0)
    return freeze(LanguageModel(start.model)).to(device), start


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
