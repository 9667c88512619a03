"""File operations that a crash or a power cut cannot take back: when one returns, its result is on the disk.

Every change that a checkpoint or a run folder makes to the disk goes through this file, so that a test can fail or
kill the program at each of them in turn.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posttrain.errors import EnvironmentFault


@contextmanager
def faults_named(path: Path, advice: str) -> Iterator[None]:
    """Turn the operating system's refusal (disk full, no permission, ...) into an EnvironmentFault naming the file."""
    try:
        yield
    except OSError as fault:
        file = fault.filename if isinstance(fault.filename, str) else path
        raise EnvironmentFault(f"{file}: {fault.strerror}; {advice}") from fault


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's list of names, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
    sync(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def rename(source: Path, target: Path) -> None:
    """Give `source` the name `target` in one indivisible step; an existing file of that name is replaced."""
    source.rename(target)
    sync(target.parent)


def replace_text(path: Path, text: str) -> None:
    """Change a file's content in one indivisible step: a reader finds the old text or the new, never a part."""
    temporary = path.with_name(f".tmp-{path.name}")
    write_text(temporary, text)
    rename(temporary, path)


def remove_tree(path: Path) -> None:
    shutil.rmtree(path)
