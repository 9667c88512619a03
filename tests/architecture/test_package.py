"""What is installed is what is here: the wheel holds every file of the package, weights and templates included."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.architecture.source_files import PACKAGE, REPOSITORY


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path):
    pytest.importorskip("hatchling", reason="building a wheel needs hatchling: install the extra `dev`")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    built = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("posttrain/")}
    files = {
        path.relative_to(REPOSITORY).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == files
