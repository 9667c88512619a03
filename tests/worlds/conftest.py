import pytest

from posttrain.data.records import Prompt
from posttrain.worlds.grounded_qa.grammar import Fact
from posttrain.worlds.grounded_qa.passages import Page, Scene


@pytest.fixture
def scene() -> Scene:
    """Two homonyms and a page about another title; the asked attribute is the year."""
    return Scene(
        title="Dalune",
        asked="year",
        question="When did Dalune come out?",
        pages=(
            Page(
                "Dalune (album)",
                (Fact("album", "Dalune", "maker", "Tuton"), Fact("album", "Dalune", "year", "1994")),
            ),
            Page(
                "Dalune (film)",
                (Fact("film", "Dalune", "year", "1950"), Fact("film", "Dalune", "prize", "Amber")),
            ),
            Page("Zonox (film)", (Fact("film", "Zonox", "year", "1971"), Fact("film", "Zonox", "place", "Dovale"))),
        ),
    )


@pytest.fixture
def prompt(scene: Scene) -> Prompt:
    return scene.prompt("hand-1")
