"""What the bits of a result depend on beside the settings and the data: software, processor, threads, processes."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch


def describe_machine(world_size: int) -> dict[str, Any]:
    """As versions.json of a run folder keeps it."""
    return {
        "posttrain": _installed("posttrain"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": _installed("transformers"),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "threads": torch.get_num_threads(),
        "world_size": world_size,
        "git_commit": _git_commit(),
    }


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def _git_commit() -> str | None:
    """The commit of the checkout that this package runs from, with "-dirty" after local changes; None elsewhere."""
    checkout = Path(__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    command = [
        "git",
        "--no-optional-locks",
        "-C",
        str(checkout),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
