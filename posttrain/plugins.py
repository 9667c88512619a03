"""The folder is the registry: `find("algorithms", "ppo")` is `posttrain/algorithms/ppo.py`.

A plug-in is one file with a frozen `Config`, or a folder whose `__init__.py` takes `Config` from a file inside it;
files without one are the workings of others. Names are read from the files' text, so listing imports no plug-in.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from posttrain.errors import InputError

KINDS = ("algorithms", "rewards", "rollouts", "data.sources", "worlds", "evaluation.measures")
"""Packages under `posttrain` whose files are plug-ins."""

_OWN_CONFIG = re.compile(r"^class Config\b", re.MULTILINE)
_CONFIG_FROM_INSIDE = re.compile(r"^from \S+ import .*\bConfig\b(?! as)", re.MULTILINE)


def names(kind: str) -> tuple[str, ...]:
    """Plug-ins of one kind, sorted."""
    assert kind in KINDS, f"{kind!r} is not a kind of plug-in: {KINDS}"
    folders = import_module(f"posttrain.{kind}").__path__
    return tuple(sorted(name for folder in folders for name in _in_folder(Path(folder))))


def kind_of(kinds: str | Sequence[str], name: str) -> str:
    """The first of `kinds` with a plug-in of this name. If there is none, InputError names the nearest and all."""
    candidates = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    for kind in candidates:
        if name in names(kind):
            return kind
    known = [known for kind in candidates for known in names(kind)]
    folders = " or ".join(f"posttrain/{kind.replace('.', '/')}" for kind in candidates)
    raise InputError(
        f"{name!r} is not in {folders}{did_you_mean(name, known)} (there: {', '.join(known) or 'nothing'})"
    )


def find(kinds: str | Sequence[str], name: str) -> ModuleType:
    """Import the plug-in `name`, looked for in one or several kinds in turn."""
    return import_module(f"posttrain.{kind_of(kinds, name)}.{name}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'; did you mean X?' for the nearest known word, or nothing when none is near."""
    matches = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""


def _in_folder(folder: Path) -> list[str]:
    return [module.name for module in iter_modules([str(folder)]) if _has_config(folder / module.name)]


@cache
def _has_config(path: Path) -> bool:
    if path.is_dir():
        return _CONFIG_FROM_INSIDE.search((path / "__init__.py").read_text(encoding="utf-8")) is not None
    return _OWN_CONFIG.search(path.with_suffix(".py").read_text(encoding="utf-8")) is not None
