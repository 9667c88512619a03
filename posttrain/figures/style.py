"""Colours, marks and text sizes of every picture, and how a matplotlib figure becomes SVG inside an HTML page.

A picture is drawn in the light colours; on a page each of them is a CSS variable, so one SVG serves light and dark.
"""

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# On a fresh machine matplotlib warns that it builds a font cache, which no reader of a report can act upon.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Tone:
    """One colour in its light and its dark variant, and the CSS variable that chooses between them."""

    variable: str
    light: str
    dark: str


INK = Tone("ink", "#1b1f24", "#e6e8eb")
MUTED = Tone("muted", "#5c6670", "#a3adb8")
GRID = Tone("grid", "#e3e6ea", "#323840")
PAPER = Tone("paper", "#fefefe", "#15181c")
# Okabe & Ito (2008): told apart with every common form of colour blindness. Each also has its own mark.
GREY = Tone("series-grey", "#6f7780", "#9aa4ae")
BLUE = Tone("series-blue", "#0072b2", "#56b4e9")
VERMILION = Tone("series-vermilion", "#d55e00", "#f08a4b")
GREEN = Tone("series-green", "#009e73", "#3cc79e")
PURPLE = Tone("series-purple", "#a84f86", "#da8fbd")
AMBER = Tone("series-amber", "#b87f00", "#e6b23c")

TONES = (INK, MUTED, GRID, PAPER, GREY, BLUE, VERMILION, GREEN, PURPLE, AMBER)
SERIES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "D"), (PURPLE, "^"), (AMBER, "v"), (GREY, "P"))

_MODELS = {"base": (GREY, "o"), "sft": (BLUE, "s"), "ppo": (VERMILION, "D"), "dpo": (GREEN, "^")}
_MODEL_LABELS = {"base": "Base", "sft": "SFT", "ppo": "PPO", "dpo": "DPO"}

SIZE = (4.3, 2.75)
"""Width and height of one picture in inches: legible both in a grid and alone on a phone."""

_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "posttrain",  # ids follow from the contents, so equal results give equal bytes
    "svg.fonttype": "none",  # text stays text: it can be selected, read aloud and coloured
    "text.parse_math": False,  # a dollar sign in a metric's name is a dollar sign
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so the layout is the same on every machine
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.edgecolor": MUTED.light,
    "axes.labelcolor": MUTED.light,
    "axes.titlecolor": INK.light,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.formatter.limits": (-4, 5),
    "axes.formatter.useoffset": False,
    "grid.color": GRID.light,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED.light,
    "ytick.color": MUTED.light,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK.light,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def model_style(name: str, place: int) -> tuple[Tone, str]:
    """Colour and mark of a model: fixed for the four of the quickstart, by place for others."""
    return _MODELS.get(name, SERIES[place % len(SERIES)])


def model_label(name: str) -> str:
    return _MODEL_LABELS.get(name, name)


@contextmanager
def chart_style() -> Iterator[None]:
    """Draw and save figures inside this, without touching matplotlib's settings for anyone else."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def one_chart(height: float = SIZE[1]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(SIZE[0], height), layout="constrained")
    return figure, figure.add_subplot()


def inline_svg(figure: Figure, slug: str, description: str) -> str:
    """An <svg> element for an HTML page, with `description` as its text alternative; `slug` keeps its ids apart."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None, "matplotlib wrote an SVG without a viewBox"
    body = svg[svg.index(">") + 1 :]
    body = body.replace("xlink:href=", "href=")
    body = re.sub(r'\b(id=")', rf"\g<1>{slug}-", body)
    body = re.sub(r'(href="|url\()#', rf"\g<1>#{slug}-", body)
    for tone in TONES:
        body = body.replace(tone.light, f"var(--{tone.variable})")
    return f'<svg role="img" aria-label="{escape(description)}" {view_box.group(0)}>{body}'


def css_variables(dark: bool) -> str:
    """Declarations of every tone, for a style sheet."""
    return " ".join(f"--{tone.variable}: {tone.dark if dark else tone.light};" for tone in TONES)
