"""Pictures as they stand in a page: SVG, a text alternative, a caption, and their numbers as a table and as CSV."""

import base64
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes

from posttrain.diagnostics.watching import Trip
from posttrain.figures.answers import visible
from posttrain.figures.curves import (
    Curve,
    draw_curves,
    draw_intervals,
    draw_reliability,
    draw_score_histogram,
    draw_trade_off,
    finite,
    reliability,
)
from posttrain.figures.run_folder import Curves
from posttrain.figures.stages import Chart
from posttrain.figures.style import SIZE, chart_style, inline_svg, model_label, one_chart

_TABLE_ROWS = 12  # on the page; the CSV has them all

Cells = Mapping[str, Mapping[str, float]]
"""Model → {"mean", "low", "high"}."""


@dataclass(frozen=True)
class Picture:
    title: str
    svg: Markup
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]  # what the page's table shows of the numbers
    num_rows: int  # how many the CSV has
    csv_link: str  # a data: address, so that the page stays one file


def curves_picture(
    chart: Chart,
    curves: Curves,
    slug: str,
    level: tuple[str, float] | None = None,
    trips: Sequence[Trip] = (),
) -> Picture | None:
    """The chart's curves, or None if none of its metrics was logged. Those of `trips` that read them are marked."""
    drawn = [
        Curve(visible(label), finite(curves[name])) for name, label in chart.metrics if finite(curves.get(name, []))
    ]
    if not drawn:
        return None
    num_left_out = sum(len(curves[name]) - len(finite(curves[name])) for name, _ in chart.metrics if name in curves)
    caption = chart.reading
    if num_left_out:
        caption += f" Left out: {num_left_out} values that are not finite numbers."
    read_here = {name for name, _ in chart.metrics}
    marks = [(trip.step, trip.name.replace("_", " ")) for trip in trips if trip.metric in read_here]
    marked = " ".join(f"Marked: {name} at step {step}." for step, name in marks)
    caption = f"{caption} {marked}".strip()
    columns = [dict(curve.points) for curve in drawn]
    steps = sorted({step for column in columns for step in column})
    rows = [(f"{step:g}", *(_figure(column.get(step)) for column in columns)) for step in steps]
    title = visible(chart.title)
    return picture(
        title,
        caption,
        slug,
        f"{title} in {chart.unit} over training steps. {' '.join(map(_course, drawn))} {marked}".strip(),
        ("step", *(curve.label for curve in drawn)),
        rows,
        lambda ax: draw_curves(ax, drawn, visible(chart.unit), level, chart.is_from_zero, marks),
    )


def intervals_picture(label: str, cells: Cells, slug: str) -> Picture:
    rows = [
        (model_label(name), *(_figure(cell[end]) for end in ("mean", "low", "high"))) for name, cell in cells.items()
    ]
    return picture(
        f"{label} by model",
        "Mean over the evaluation prompts; bars are 95 % bootstrap intervals.",
        slug,
        f"{label} by model. " + " ".join(f"{name}: {mean}, from {low} to {high}." for name, mean, low, high in rows),
        ("model", "mean", "low", "high"),
        rows,
        lambda ax: draw_intervals(ax, cells, label.lower()),
    )


def trade_off_picture(label: str, reward: Cells, kl: Cells, slug: str) -> Picture:
    rows = [
        (model_label(name), _figure(kl[name]["mean"]), _figure(reward[name]["mean"])) for name in reward if name in kl
    ]
    return picture(
        f"{label} against KL",
        "What each method gained for how far it moved from the SFT model; up and to the left is better.",
        slug,
        f"{label} against KL. " + " ".join(f"{name}: KL {across}, {label.lower()} {up}." for name, across, up in rows),
        ("model", "KL to SFT", label.lower()),
        rows,
        lambda ax: draw_trade_off(ax, reward, kl, label.lower()),
    )


def score_pictures(better: Sequence[float], worse: Sequence[float]) -> list[Picture]:
    """The histogram of the reward model's scores and its reliability diagram."""
    means = sum(better) / len(better), sum(worse) / len(worse)
    histogram = picture(
        "Scores of held-out answers",
        "The further apart the two humps, the more the reward model can tell.",
        "score-histogram",
        f"Two histograms of scores. Preferred answers have mean {means[0]:.3g}, rejected ones {means[1]:.3g}.",
        ("preferred", "rejected"),
        [(_figure(one), _figure(other)) for one, other in zip(better, worse, strict=True)],
        lambda ax: draw_score_histogram(ax, better, worse),
    )
    bins = [(_figure(sure), _figure(right), str(count)) for sure, right, count in reliability(better, worse)]
    diagram = picture(
        "Is its confidence earned?",
        "Pairs in bins of equal count. Below the dashed line the model is surer than it should be.",
        "reliability",
        "Share of pairs judged right against confidence. " + " ".join(f"At {row[0]}: {row[1]}." for row in bins),
        ("confidence", "share right", "pairs"),
        bins,
        lambda ax: draw_reliability(ax, better, worse),
    )
    return [histogram, diagram]


def picture(
    title: str,
    caption: str,
    slug: str,
    description: str,
    header: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    draw: Callable[[Axes], None],
    height: float = SIZE[1],
) -> Picture:
    with chart_style():
        figure, ax = one_chart(height)
        draw(ax)
        svg = Markup(inline_svg(figure, slug, description))
    shown = [rows[place * (len(rows) - 1) // (_TABLE_ROWS - 1)] for place in range(_TABLE_ROWS)]
    return Picture(
        title=title,
        svg=svg,
        caption=caption,
        header=header,
        rows=tuple(rows if len(rows) <= _TABLE_ROWS else shown),
        num_rows=len(rows),
        csv_link=_csv_link(header, rows),
    )


def _csv_link(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return "data:text/csv;base64," + base64.b64encode(buffer.getvalue().encode()).decode("ascii")


def _course(curve: Curve) -> str:
    """A curve in words."""
    (first_step, first), (last_step, last) = curve.points[0], curve.points[-1]
    values = [value for _, value in curve.points]
    return (
        f"{curve.label}: from {first:.3g} at step {first_step:g} to {last:.3g} at step {last_step:g}, "
        f"between {min(values):.3g} and {max(values):.3g}."
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
