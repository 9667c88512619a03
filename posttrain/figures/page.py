"""A report page before it is HTML: plain parts, and `render`, which turns them into one self-contained file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from posttrain.diagnostics.table import INTRODUCTION
from posttrain.diagnostics.watching import Trip
from posttrain.evaluation.results import MEASURES
from posttrain.figures.answers import SideBySide, fault_kinds, pieces, visible
from posttrain.figures.pictures import Picture
from posttrain.figures.run_folder import Generation
from posttrain.figures.strips import NUM_LEVELS, Scale, Strip, number
from posttrain.figures.style import css_variables, model_label

_NUM_FAULT_STYLES = 5  # classes fault-0 to fault-4 of report.css, each with its own underline

_SIDE = range(1, NUM_LEVELS + 1)
TONES = (*(f"n{level}" for level in reversed(_SIDE)), "zero", *(f"p{level}" for level in _SIDE))
"""Classes of strips.css, from the lowest value to the highest."""


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, pictures, facts, and the names of what could not be drawn."""

    title: str
    lead: str = ""
    pictures: Sequence[Picture] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    absent: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """Everything that a report shows, in the order in which it shows it."""

    title: str
    machine: str = ""
    findings: Sequence[str] = ()
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # "models" of a summary
    comparison: Sequence[Picture] = ()  # the models side by side
    trips: Mapping[str, Sequence[Trip]] = field(default_factory=dict)  # stage, or "" for the run itself → diagnostics
    sections: Sequence[Section] = ()
    answers: Sequence[SideBySide] = ()
    answers_note: str = ""
    generations: Sequence[Generation] = ()
    generations_step: int = 0
    strips: Sequence[Sequence[Strip]] = ()  # of each of the generations, where its rewards' spans were kept
    scales: Sequence[Scale] = ()  # of the strips
    seconds: Mapping[str, float] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)  # file name → text, shown as it is


def render(page: Page) -> str:
    """The page as HTML: no scripts, nothing fetched, the same bytes for the same page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    kinds = fault_kinds(page.answers)
    environment.filters |= {
        "visible": visible,
        "model_label": model_label,
        "kind_label": kind_label,
        "number": number,
        "capitalized": lambda text: text[:1].upper() + text[1:],
        "fault_letter": fault_letters(kinds).__getitem__,
    }
    return environment.get_template("report.html.j2").render(
        page=page,
        measures=MEASURES,
        introduction=INTRODUCTION,
        pieces=pieces,
        fault_kinds=kinds,
        fault_class={kind: f"fault-{place % _NUM_FAULT_STYLES}" for place, kind in enumerate(kinds)},
        tones=TONES,
        light_colours=css_variables(dark=False),
        dark_colours=css_variables(dark=True),
    )


def kind_label(kind: str) -> str:
    return visible(kind.replace("_", " "))


def fault_letters(kinds: Sequence[str]) -> dict[str, str]:
    """A short sign per kind of fault: its first letter, or its number in the legend where two kinds share one."""
    initials = [kind[:1].upper() for kind in kinds]
    return {
        kind: initial if initial.isalpha() and initials.count(initial) == 1 else str(place)
        for place, (kind, initial) in enumerate(zip(kinds, initials, strict=True), start=1)
    }
