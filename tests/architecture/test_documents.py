"""What the documents name is there."""

import re
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = "".join((DOCS / name).read_text() for name in ("algorithms.md", "agreement.md"))
PLACES = re.findall(r"`((?:\w+/)+\w+)\.py:([\w.]+)`", PAGES)


def test_the_methods_page_names_places():
    assert len(PLACES) > 30


@pytest.mark.parametrize(("module", "name"), sorted(set(PLACES)))
def test_a_named_function_is_there(module, name):
    found = import_module("posttrain." + module.replace("/", "."))
    for part in name.split("."):
        found = getattr(found, part)
    assert found.__doc__ or callable(found) or isinstance(found, property)
