"""Imports: the layers, one door per heavy dependency, and nothing undeclared. The layers are in pyproject.toml."""

import subprocess
import sys
import tomllib
from itertools import chain

import pytest

from tests.architecture.source_files import REPOSITORY, source_files

DOORS = {
    "transformers": ("models/", "data/"),
    "tokenizers": ("models/", "data/"),
    "accelerate": ("training/distributed.py",),
    "diffusers": ("models/denoiser.py",),
    "ray": ("rollouts/ray_workers.py",),
    "wandb": ("training/metrics.py",),
    "tensorboard": ("training/metrics.py",),
    "yaml": ("reading/strict_yaml.py",),
    "rouge_score": ("evaluation/measures/",),
    "matplotlib": ("figures/",),
    "jinja2": ("figures/", "models/", "data/", "annotation/"),
    "peft": ("models/",),
    "httpx": ("rewards/json_server.py",),
    **dict.fromkeys(
        ("fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "argon2", "itsdangerous", "httpx2", "evalica"),
        ("annotation/",),
    ),
}
"""Heavy dependency: the files, or folders, that may import it."""

DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "rouge_score": "rouge-score",
    "jinja2": "jinja2",
    "pydantic_core": "pydantic",
    "argon2": "argon2-cffi",
}
"""Import name: distribution, where the two differ."""


def _third_party() -> list[tuple[str, str, int]]:
    ours = {*sys.stdlib_module_names, "posttrain"}
    return [
        (file.name, module.split(".")[0], line)
        for file in source_files()
        for module, line in file.imports()
        if module.split(".")[0] not in ours
    ]


def test_the_layers_hold():
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("package", DOORS)
def test_one_door_per_heavy_dependency(package: str):
    strays = [
        f"{name}:{line}"
        for name, module, line in _third_party()
        if module == package and not name.startswith(DOORS[package])
    ]
    assert strays == [], f"{package} may be imported only in {DOORS[package]}"


def test_every_import_is_declared():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    declared = {requirement.split(">")[0].split("=")[0].split("[")[0].strip().lower() for requirement in requirements}
    undeclared = {
        f"{module} ({name}:{line})"
        for name, module, line in _third_party()
        if DISTRIBUTIONS.get(module, module) not in declared
    }
    assert undeclared == set()


@pytest.mark.parametrize("module", ["posttrain.config", "posttrain.cli", "posttrain.figures", "posttrain.data.records"])
def test_importing_light_modules_brings_no_torch(module: str):
    heavy = ("torch", "transformers", "matplotlib")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == "[]"


def test_init_files_are_empty():
    """But for a plug-in that is a folder, which names its Config and verb there."""
    busy = [file.name for file in source_files() if file.name.endswith("__init__.py") and file.text.strip()]
    assert [name for name in busy if not name.startswith("worlds/")] == []
