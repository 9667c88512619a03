"""Models and data for small runs, made once."""

from pathlib import Path

import pytest

from tests.resume.small_runs import write_material


@pytest.fixture(scope="session")
def material(tmp_path_factory) -> Path:
    """The folder that `small_runs.config_of` names; never write into it."""
    return write_material(tmp_path_factory.mktemp("material"))
