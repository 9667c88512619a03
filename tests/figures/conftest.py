"""One quickstart folder for all tests of figures; each test that changes one makes its own."""

import pytest

from tests.figures.quickstart_folder import write_folder


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("quickstart"))
