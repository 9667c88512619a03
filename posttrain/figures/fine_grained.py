"""The two pictures of `posttrain reproduce fine_grained`: each true reward along training, and what weights trade."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posttrain import durable_files
from posttrain.figures.page import Page, Section, render
from posttrain.figures.pictures import Picture, picture
from posttrain.figures.style import BLUE, GREEN, GREY, MUTED, PAPER, PURPLE, VERMILION, Tone, chart_style

Results = Mapping[str, Any]
"""The contents of results.json."""

ARMS: Mapping[str, tuple[str, Tone, str]] = {
    "sft": ("SFT", GREY, "P"),
    "holistic": ("one holistic reward", BLUE, "o"),
    "fine_grained": ("three fine-grained rewards", VERMILION, "s"),
    "complete": ("three, for completeness", GREEN, "^"),
    "precise": ("three, for precision", PURPLE, "v"),
}
PANELS = (
    ("gold", "gold reward", 1.0),
    ("completeness", "needed facts stated", 1.0),
    ("factuality", "wrong sentences", -1.0),
    ("relevance", "bad sub-sentences", -1.0),
)
"""Name, title and sign: the two error rewards are minus a share."""
TRADED = (*PANELS[1:], ("length", "tokens of an answer", 1.0))
SAMPLES_PER_STEP = 128


def write_learning_curves(results: Results, path: Path) -> None:
    with chart_style():
        figure = Figure(figsize=(9.2, 5.6), layout="constrained", facecolor=PAPER.light)
        for ax, (name, title, sign) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
            ax.set_title(title.capitalize())
            draw_curve(ax, results, name, sign)
        figure.axes[0].legend(loc="lower right")
        figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def write_trade_off(results: Results, path: Path) -> None:
    with chart_style():
        figure = Figure(figsize=(10.4, 2.9), layout="constrained", facecolor=PAPER.light)
        grid = figure.subplots(1, len(TRADED), sharey=True)
        for ax, (name, title, sign) in zip(grid, TRADED, strict=True):
            ax.set_title(title.capitalize())
            draw_cells(ax, results, name, sign)
        figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def draw_curve(ax: Axes, results: Results, name: str, sign: float) -> None:
    """The mean over seeds of each step's own samples, and the seeds' range as a band."""
    for arm in ("holistic", "fine_grained"):
        if arm not in results["curves"]:
            continue
        label, tone, _ = ARMS[arm]
        values = sign * np.array([each[name] for each in results["curves"][arm]])
        samples = SAMPLES_PER_STEP * np.arange(1, values.shape[1] + 1)
        ax.fill_between(samples, values.min(0), values.max(0), color=tone.light, alpha=0.18, linewidth=0)
        ax.plot(samples, values.mean(0), color=tone.light, label=label)
    if "sft" in results["arms"]:
        level = sign * results["arms"]["sft"]["measures"][name]["mean"]
        ax.axhline(level, color=MUTED.light, linestyle=(0, (4, 3)), linewidth=1.0, label="SFT")
    ax.set_xlabel("samples")


def draw_cells(ax: Axes, results: Results, name: str, sign: float) -> None:
    """A line an arm: the mean over seeds and prompts, with its interval."""
    shown = [arm for arm in ARMS if arm in results["arms"]]
    for place, arm in enumerate(shown):
        _, tone, mark = ARMS[arm]
        cell = results["arms"][arm]["measures"][name]
        ax.plot([sign * cell["low"], sign * cell["high"]], [place, place], color=tone.light, linewidth=2.4)
        ax.plot(sign * cell["mean"], place, marker=mark, markersize=7, color=tone.light, markeredgecolor=PAPER.light)
    ax.set_yticks(range(len(shown)), [ARMS[arm][0] for arm in shown])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    ax.margins(x=0.1)


def write_page(results: Results, folder: Path) -> Path:
    """folder/report.html: both pictures with their numbers, in one self-contained file."""
    seconds = dict(results["seconds"])
    page = Page(
        title="Fine-grained and holistic rewards",
        machine=" · ".join(f"{name} {results['machine'][name]}" for name in ("cpu", "threads", "torch")),
        sections=[
            Section(
                "Along training",
                "Each true reward of the samples of each step; the band is the range over seeds. Both kinds of runs "
                "see equally many samples and make equally many updates.",
                [_curve_picture(results, *panel) for panel in PANELS],
            ),
            Section(
                "What the weights trade",
                "Unseen prompts: mean and 95 % interval over seeds and prompts.",
                [_cells_picture(results, *panel) for panel in (PANELS[0], *TRADED)],
            ),
        ],
        seconds=seconds | {"total": sum(seconds.values())},
    )
    path = folder / "report.html"
    with durable_files.faults_named(path, "make room, or make the folder writable"):
        durable_files.replace_text(path, render(page))
    return path


def _curve_picture(results: Results, name: str, title: str, sign: float) -> Picture:
    arms = [arm for arm in ("holistic", "fine_grained") if arm in results["curves"]]
    means = [sign * np.mean([each[name] for each in results["curves"][arm]], axis=0) for arm in arms]
    rows = [
        (str(SAMPLES_PER_STEP * (step + 1)), *(f"{float(mean[step]):.4g}" for mean in means))
        for step in range(len(means[0]) if means else 0)
    ]
    said = " ".join(
        f"{ARMS[arm][0]}: from {mean[0]:.3g} to {mean[-1]:.3g}." for arm, mean in zip(arms, means, strict=True)
    )
    header = ("samples", *(ARMS[arm][0] for arm in arms))
    return picture(title.capitalize(), "", f"curve-{name}", said, header, rows,
                   lambda ax: _with_legend(ax, results, name, sign))  # fmt: skip


def _with_legend(ax: Axes, results: Results, name: str, sign: float) -> None:
    draw_curve(ax, results, name, sign)
    ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.22), ncols=2)  # below: curves are everywhere above


def _cells_picture(results: Results, name: str, title: str, sign: float) -> Picture:
    rows = []
    for arm in (arm for arm in ARMS if arm in results["arms"]):
        cell = {end: sign * value for end, value in results["arms"][arm]["measures"][name].items()}
        low, high = sorted((cell["low"], cell["high"]))
        rows.append((ARMS[arm][0], f"{cell['mean']:.4g}", f"{low:.4g}", f"{high:.4g}"))
    said = " ".join(f"{label}: {mean} ({low} to {high})." for label, mean, low, high in rows)
    return picture(title.capitalize(), "", f"cells-{name}", said, ("", "mean", "low", "high"), rows,
                   lambda ax: draw_cells(ax, results, name, sign))  # fmt: skip
