"""Drawing on axes: curves over steps, models compared, reward against KL, score histograms and reliability."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from posttrain.figures.style import BLUE, INK, MUTED, PAPER, SERIES, VERMILION, model_label, model_style

Points = Sequence[tuple[float, float]]
"""(step, value) in order of step."""

_FEW_POINTS = 25  # up to here every point gets a mark
_MANY_POINTS = 60  # from here on the raw curve is pale and a smoothed one is drawn over it


@dataclass(frozen=True)
class Curve:
    label: str
    points: Points


def finite(points: Points) -> list[tuple[float, float]]:
    return [(step, value) for step, value in points if math.isfinite(step) and math.isfinite(value)]


def smoothed(values: Sequence[float], width: int) -> np.ndarray:
    """Moving average over `width` values, and towards the ends over as many as lie on both sides, so without a bias."""
    totals = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    reach = np.minimum(np.minimum(places, places[::-1]), width // 2)
    return (totals[places + reach + 1] - totals[places - reach]) / (2 * reach + 1)


def draw_curves(
    ax: Axes,
    curves: Sequence[Curve],
    unit: str,
    level: tuple[str, float] | None = None,
    is_from_zero: bool = False,
    marks: Sequence[tuple[float, str]] = (),
) -> None:
    """Each curve over steps; `level` is the name of a value worth comparing with and the value, a dashed line.

    `marks` are steps and names of what happened there, thin lines across the curves.
    """
    for (tone, mark), curve in zip(SERIES, curves, strict=False):
        points = finite(curve.points)
        steps, values = [step for step, _ in points], [value for _, value in points]
        if len(points) >= _MANY_POINTS:
            ax.plot(steps, values, color=tone.light, linewidth=0.8, alpha=0.35)
            ax.plot(steps, smoothed(values, max(5, len(points) // 20)), color=tone.light, label=curve.label)
        else:
            mark = mark if len(points) <= _FEW_POINTS else ""
            ax.plot(steps, values, color=tone.light, marker=mark, label=curve.label)
    if level is not None:
        ax.axhline(level[1], color=MUTED.light, linestyle=(0, (4, 3)), linewidth=1.1, label=level[0])
    ax.set_xlabel("step")
    ax.set_ylabel(unit)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
    ax.margins(x=0.03, y=0.08)
    seen = {step for curve in curves for step, _ in finite(curve.points)}
    if len(seen) == 1:
        ax.set_xlim(min(seen) - 1, min(seen) + 1)
    if is_from_zero:
        ax.set_ylim(bottom=0)
    for place, (step, name) in enumerate(marks):
        _mark_step(ax, step, name, place)
    if len(curves) > 1 or level is not None:
        _legend_above(ax, len(curves) + (level is not None))


def _mark_step(ax: Axes, step: float, name: str, place: int) -> None:
    """A vertical line with its name, written on the side that has room; each further name stands lower."""
    ax.axvline(step, color=INK.light, linestyle=(0, (1, 2)), linewidth=1.0)
    left, right = ax.get_xlim()
    is_late = step > (left + right) / 2
    ax.annotate(
        name,
        (step, 1),
        (-3 if is_late else 3, -2 - 10 * place),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right" if is_late else "left",
        va="top",
        fontsize=7.5,
    )


def draw_intervals(ax: Axes, cells: Mapping[str, Mapping[str, float]], unit: str) -> None:
    """One line per model: a mark at the mean, a bar over the interval, and the mean in figures."""
    names = list(cells)
    for place, name in enumerate(names):
        tone, mark = model_style(name, place)
        cell = cells[name]
        ax.plot([cell["low"], cell["high"]], [place, place], color=tone.light, linewidth=2.6, solid_capstyle="butt")
        ax.plot(cell["mean"], place, marker=mark, markersize=7, color=tone.light, markeredgecolor=PAPER.light)
        ax.annotate(
            f"{cell['mean']:.3f}", (cell["mean"], place), (0, 8), textcoords="offset points", ha="center", fontsize=8
        )
    ax.set_yticks(range(len(names)), [model_label(name) for name in names])
    ax.tick_params(axis="y", length=0, labelcolor=INK.light, labelsize=9)
    ax.set_ylim(len(names) - 0.5, -0.75)
    ax.grid(visible=False, axis="y")
    ax.margins(x=0.08)
    ax.set_xlabel(f"{unit} (mean, 95 % interval)")


def draw_trade_off(
    ax: Axes, reward: Mapping[str, Mapping[str, float]], kl: Mapping[str, Mapping[str, float]], unit: str
) -> None:
    """One point per model: what was gained against how far the policy moved, with both intervals."""
    names = [name for name in reward if name in kl]
    for place, name in enumerate(names):
        tone, mark = model_style(name, place)
        across, up = kl[name], reward[name]
        ax.plot([across["low"], across["high"]], [up["mean"]] * 2, color=tone.light, linewidth=1.4)
        ax.plot([across["mean"]] * 2, [up["low"], up["high"]], color=tone.light, linewidth=1.4)
        ax.plot(
            across["mean"],
            up["mean"],
            marker=mark,
            markersize=7,
            linestyle="",
            color=tone.light,
            markeredgecolor=PAPER.light,
        )
    ax.set_xlabel("KL to SFT, nats per response")
    ax.set_ylabel(unit)
    ax.margins(0.12)
    _label_points(ax, {model_label(name): (kl[name]["mean"], reward[name]["mean"]) for name in names})


def _label_points(ax: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write each name up and right of its point, higher where it would cover the name of a point below."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    placed: list[tuple[float, float]] = []  # lower left corners of the names, as shares of the axes
    for name, (across, up) in sorted(points.items(), key=lambda item: item[1][1]):
        corner = (across - left) / (right - left) + 0.025, (up - bottom) / (top - bottom) + 0.025
        for other in placed:
            if abs(corner[0] - other[0]) < 0.14 and corner[1] - other[1] < 0.075:
                corner = corner[0], other[1] + 0.075
        placed.append(corner)
        ax.text(*corner, name, transform=ax.transAxes, fontsize=9)


def draw_score_histogram(ax: Axes, better: Sequence[float], worse: Sequence[float]) -> None:
    """Scores of the preferred and of the other responses, over the same bins."""
    edges = np.histogram_bin_edges([*better, *worse], bins=24).tolist()
    for scores, tone, label, hatch in ((better, BLUE, "preferred", ""), (worse, VERMILION, "rejected", "////")):
        ax.hist(scores, edges, histtype="stepfilled", color=tone.light, alpha=0.25)
        ax.hist(scores, edges, histtype="step", color=tone.light, linewidth=1.5, label=label, hatch=hatch)
    ax.set_xlabel("reward model's score")
    ax.set_ylabel("responses")
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    _legend_above(ax, 2)


def reliability(better: Sequence[float], worse: Sequence[float], num_bins: int = 8) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, pairs) per bin of equal count.

    The Bradley-Terry confidence of a pair is sigmoid(|difference of scores|); it is right if the preferred scored more.
    """
    gaps = np.asarray(better, dtype=np.float64) - np.asarray(worse, dtype=np.float64)
    confidence = 1 / (1 + np.exp(-np.abs(gaps)))
    right = np.where(gaps == 0, 0.5, gaps > 0)
    order = np.argsort(confidence, kind="stable")
    bins = [rows for rows in np.array_split(order, num_bins) if rows.size]
    return [(float(confidence[rows].mean()), float(right[rows].mean()), int(rows.size)) for rows in bins]


def draw_reliability(ax: Axes, better: Sequence[float], worse: Sequence[float]) -> None:
    """How often the reward model is right against how sure it is; on the dashed line it is calibrated."""
    bins = reliability(better, worse)
    ax.plot([0.5, 1], [0.5, 1], color=MUTED.light, linestyle=(0, (4, 3)), linewidth=1.1, label="calibrated")
    across, up, _ = zip(*bins, strict=True)
    ax.plot(across, up, color=BLUE.light, marker="o", label="held-out pairs")
    ax.set_xlim(0.48, 1.02)
    ax.set_ylim(min(0.45, *up) - 0.05, 1.04)
    ax.set_xlabel("confidence, sigmoid of the score gap")
    ax.set_ylabel("share right")
    _legend_above(ax, 2)


def _legend_above(ax: Axes, entries: int) -> None:
    """Between title and picture, where it can cover nothing."""
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 0.98),
        ncols=min(entries, 4),
        borderpad=0.2,
        handlelength=1.6,
        columnspacing=1.2,
        borderaxespad=0,
    )
