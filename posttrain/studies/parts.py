"""The parts of a study: folders that are whole or not, and marks of what they were made from.

A folder's name ends with its mark, so that it is never of other settings than its name says; a study that was stopped
finds what it has, other settings in the same place make only what is missing, and nothing is ever deleted. A mark is
of settings and of the marks of the parts that they name, not of files elsewhere or of the program's version.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain import durable_files
from posttrain.config import RunConfig
from posttrain.errors import InputError

DONE = "part.json"
"""Written last into a folder: what is in it is whole, and was made under the mark that the file names."""


@dataclass(frozen=True)
class Place:
    """A folder, and the mark of the settings of what is in it."""

    folder: Path
    mark: str


@dataclass(frozen=True)
class PlannedRun:
    """A run with its paths filled in."""

    name: str
    place: Place
    run: RunConfig


def mark_of(*parts: Any) -> str:
    """What a part was made from, as ten hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]


def refuse_other_contents(out: Path, own: str, what: str) -> None:
    """InputError where `out` is no folder, or holds things but not the file `own` of what it is to go on with."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    if out.exists() and any(out.iterdir()) and not {own, ".lock"} & {it.name for it in out.iterdir()}:
        raise InputError(f"--out {out}: is not empty and holds no {what}; give another --out")


def finished(folder: Path, mark: str) -> dict[str, Any] | None:
    """What DONE of a folder says, or None where it is not there or of another mark."""
    file = folder / DONE
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: not as it was written ({error}); delete it, and it is made again") from error
    return found if found.get("mark") == mark else None


def finish(folder: Path, mark: str, seconds: float, facts: Mapping[str, Any]) -> dict[str, Any]:
    found = {"mark": mark, "seconds": round(seconds, 1), **facts}
    with durable_files.faults_named(folder, "make room, then run the same command again"):
        durable_files.replace_text(folder / DONE, json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found
