"""The two pictures of a sweep, from its results.json: reward against KL, and gold against learned reward."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posttrain import durable_files
from posttrain.figures.page import Page, Section, render
from posttrain.figures.pictures import Picture, picture
from posttrain.figures.style import BLUE, GREY, INK, MUTED, PAPER, SERIES, VERMILION, Tone, chart_style

Results = Mapping[str, Any]
"""The contents of results.json."""

DASHES = (0, (4, 3))
DOTS = (0, (1, 2))
NARROW_HEIGHT = 4.2
"""Inches of the frontier on a page, whose legend stands below it."""
FRONTIER = "Gold reward of each point against its KL to the SFT model, on unseen prompts; up and to the left is better."
"""And how to read it."""


def write_frontier(results: Results, path: Path) -> None:
    with chart_style():
        figure = Figure(figsize=(7.6, 4.6), layout="constrained", facecolor=PAPER.light)
        ax = figure.add_subplot()
        ax.set_title("Gold reward against KL to the SFT model")
        draw_frontier(ax, results)
        figure.savefig(path, format="png", dpi=130, metadata={"Software": None})


def write_over_optimisation(results: Results, path: Path) -> None:
    """A row for each watched method: along the training that moved furthest, and against the setting. Or nothing."""
    methods = watched(results)
    if not methods:
        return
    with chart_style():
        size = (8.4, 3.1 * len(methods))
        figure = Figure(figsize=size, layout="constrained", facecolor=PAPER.light)
        grid = figure.subplots(len(methods), 2, squeeze=False)
        for (left, right), name in zip(grid, methods, strict=True):
            point = furthest(results, name)
            left.set_title(f"{point['label']}\nalong training, {_setting(point)}")
            draw_along(left, results, point)
            right.set_title(f"{point['label']}\nagainst {_short(point)}")
            draw_against_setting(right, results, name)
        figure.savefig(path, format="png", dpi=90, metadata={"Software": None})


def write_page(results: Results, folder: Path) -> Path:
    """folder/report.html: both pictures with their numbers, in one self-contained file."""
    seconds = dict(results["seconds"])
    page = Page(
        title="Reward against KL",
        machine=" · ".join(f"{name} {results['machine'][name]}" for name in ("cpu", "threads", "torch")),
        sections=[
            Section("The frontier", FRONTIER, [_frontier_picture(results)], _facts(results)),
            Section(
                "Over-optimisation",
                "Gold and learned reward, each in standard deviations of the SFT model's responses above their mean. "
                "Where the dashed line leaves the full one behind, the learned reward is being exploited; where the "
                "dotted one rises, texts begin to repeat themselves, which neither reward minds.",
                [it for name in watched(results) for it in _over_optimisation_pictures(results, name)],
            ),
        ],
        seconds=seconds | {"total": sum(seconds.values())},
    )
    path = folder / "report.html"
    with durable_files.faults_named(path, "make room, or make the folder writable"):
        durable_files.replace_text(path, render(page))
    return path


def draw_frontier(ax: Axes, results: Results, is_narrow: bool = False) -> None:
    """Points with both intervals, those of a method joined (means over seeds); the optimum and best-of-n as lines.

    Best-of-n stands at the bound of its KL. The KL axis goes by the square root, since gains do too for small steps
    (Gao et al. 2023, arXiv:2210.10760).
    """
    optimum = results["optimum"]
    ax.plot([it["kl"] for it in optimum], [it["gold"] for it in optimum], color=INK.light, linestyle=DASHES,
            linewidth=1.1, label="optimum (from samples)")  # fmt: skip
    curve = results["best_of_n"]
    ax.plot([it["kl"] for it in curve], [it["gold"] for it in curve], color=MUTED.light, linestyle=DOTS,
            linewidth=1.4, label="best-of-n, at log n − (n−1)/n")  # fmt: skip
    for method, (tone, mark) in _styles(results).items():
        points = _points(results, method)
        for point in points:
            kl, gold = point["measures"]["kl"], point["measures"]["gold"]
            ax.plot([kl["low"], kl["high"]], [gold["mean"]] * 2, color=tone.light, linewidth=1.1)
            ax.plot([kl["mean"]] * 2, [gold["low"], gold["high"]], color=tone.light, linewidth=1.1)
        if not points[0].get("is_kl_bound"):
            joined = sorted((it["kl"]["mean"], it["gold"]["mean"]) for it in _by_value(points).values())
            ax.plot(*zip(*joined, strict=True), color=tone.light, linewidth=0.9)
        ax.plot(
            [point["measures"]["kl"]["mean"] for point in points],
            [point["measures"]["gold"]["mean"] for point in points],
            color=tone.light,
            marker=mark,
            markeredgecolor=PAPER.light,
            markersize=13 if method == "sft" else 6,
            linestyle="",
            label=points[0]["label"],
        )
    ax.set_xscale(
        "function", functions=(lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * np.square(x))
    )
    most = 1.06 * max(0.1, *(point["measures"]["kl"]["high"] for point in results["points"]))
    ax.set_xticks(shown := _ticks(most, 0.09 if is_narrow else 0.045), [f"{tick:g}" for tick in shown])
    ax.set_xlim(-0.002 * most, most)
    ax.set_xlabel("KL to the SFT model, nats per response" + ("" if is_narrow else " (best-of-n: upper bound)"))
    ax.set_ylabel("gold reward (mean, 95 % interval)")
    if is_narrow:
        ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2)
    else:
        ax.legend(loc="lower left", bbox_to_anchor=(1.0, 0.0))


def _ticks(most: float, apart: float) -> list[float]:
    """Round numbers from 0 to `most` that stand at least this share of a square-root axis apart."""
    shown = [0.0]
    for tick in (0.1, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640):
        if tick <= most and np.sqrt(tick) - np.sqrt(shown[-1]) > apart * np.sqrt(most):
            shown.append(tick)
    return shown


def draw_along(ax: Axes, results: Results, point: Mapping[str, Any]) -> None:
    _draw_both(ax, results, [(row["step"], row) for row in point["along"]])
    ax.set_xlabel("step")


def draw_against_setting(ax: Axes, results: Results, method: str) -> None:
    """The setting falls to the right: a weaker hold lets the policy go further."""
    points = _points(results, method)
    values = sorted(_by_value(points).items())
    _draw_both(ax, results, values)
    if values[0][0] > 0:
        ax.set_xscale("log")
        ax.set_xticks([value for value, _ in values], [f"{value:g}" for value, _ in values])
        ax.minorticks_off()
    ax.invert_xaxis()
    ax.set_xlabel(_short(points[0]))


def in_deviations(results: Results, name: str, value: float) -> float:
    """A reward in standard deviations of the SFT model's responses above their mean."""
    start = next(point for point in results["points"] if point["method"] == "sft")
    return (value - start["measures"][name]["mean"]) / max(results["std_of_sft"][name], 1e-9)


def watched(results: Results) -> list[str]:
    """Methods of which something was measured along training."""
    return list(dict.fromkeys(point["method"] for point in results["points"] if point.get("along")))


def furthest(results: Results, method: str) -> Mapping[str, Any]:
    return max(_points(results, method), key=lambda point: point["measures"]["kl"]["mean"])


def _draw_both(ax: Axes, results: Results, rows: Sequence[tuple[float, Mapping[str, Any]]]) -> None:
    for name, tone, mark, style in (("gold", BLUE, "o", "-"), ("learned", VERMILION, "s", DASHES)):
        across = [place for place, _ in rows]
        low, mean, high = (
            [in_deviations(results, name, cells[name][end]) for _, cells in rows] for end in ("low", "mean", "high")
        )
        ax.fill_between(across, low, high, color=tone.light, alpha=0.18, linewidth=0)
        ax.plot(across, mean, color=tone.light, marker=mark, linestyle=style, label=f"{name} reward")
    repeated = [cells["repetition"]["mean"] for _, cells in rows]
    right = ax.twinx()
    right.plot([place for place, _ in rows], repeated, color=GREY.light, linestyle=DOTS, marker=".")
    ax.plot([], [], color=GREY.light, linestyle=DOTS, marker=".", label="repetition (right)")
    right.set_ylim(0, 1)
    right.set_ylabel("share of repeated 3-grams")
    right.grid(visible=False)
    ax.axhline(0, color=MUTED.light, linewidth=0.8)
    ax.set_ylabel("standard deviations\nabove the SFT model")
    ax.legend(loc="best")


def _styles(results: Results) -> dict[str, tuple[Tone, str]]:
    methods = list(dict.fromkeys(point["method"] for point in results["points"] if point["method"] != "sft"))
    styles = {name: SERIES[place % len(SERIES)] for place, name in enumerate(methods)}
    return {"sft": (INK, "*")} | styles


def _points(results: Results, method: str) -> list[Mapping[str, Any]]:
    return [point for point in results["points"] if point["method"] == method]


def _by_value(points: Sequence[Mapping[str, Any]]) -> dict[float, dict[str, dict[str, float]]]:
    """Value of the setting → measures: over seeds, the mean of the means and the outermost ends of the intervals."""
    merged: dict[float, dict[str, dict[str, float]]] = {}
    for value in dict.fromkeys(point["value"] for point in points):
        cells = [point["measures"] for point in points if point["value"] == value]
        merged[value] = {
            name: {
                "mean": sum(it[name]["mean"] for it in cells) / len(cells),
                "low": min(it[name]["low"] for it in cells),
                "high": max(it[name]["high"] for it in cells),
            }
            for name in cells[0]
        }
    return merged


def _short(point: Mapping[str, Any]) -> str:
    return str(point["setting"] or "").rpartition(".")[2]


def _setting(point: Mapping[str, Any]) -> str:
    return f"{_short(point)} {point['value']:g}" if point["setting"] else ""


def _facts(results: Results) -> dict[str, str]:
    return {name: f"{value:.4g}" for name, value in results["reward_model"].items() if value is not None}


def _frontier_picture(results: Results) -> Picture:
    names = ("kl", "gold", "learned", "length", "repetition")
    rows = [
        (point["label"], _setting(point), *(f"{point['measures'][name]['mean']:.3g}" for name in names))
        for point in results["points"]
    ]
    said = " ".join(f"{label} {setting}: KL {kl}, gold reward {gold}." for label, setting, kl, gold, *_ in rows)
    return picture(
        "Gold reward against KL",
        "Best-of-n stands at the upper bound of its KL.",
        "frontier",
        said,
        ("method", "setting", *names),
        rows,
        lambda ax: draw_frontier(ax, results, is_narrow=True),
        NARROW_HEIGHT,
    )


def _over_optimisation_pictures(results: Results, method: str) -> list[Picture]:
    point = furthest(results, method)
    across = sorted(_by_value(_points(results, method)).items(), reverse=True)
    along = [(f"{row['step']}", row) for row in point["along"]]
    kinds = (
        (f"{point['label']}: {_setting(point)}", "step", "along", along, lambda ax: draw_along(ax, results, point)),
        (
            f"{point['label']}: against {_short(point)}",
            _short(point),
            "against",
            [(f"{value:g}", cells) for value, cells in across],
            lambda ax: draw_against_setting(ax, results, method),
        ),
    )
    made = []
    for title, head, slug, rows, draw in kinds:
        numbers = [(at, *_numbers(results, cells)) for at, cells in rows]
        said = " ".join(f"{head} {at}: gold {gold}, learned {learned}." for at, gold, learned, _ in numbers)
        made.append(
            picture(
                title,
                "Bands are 95 % intervals.",
                f"{method}-{slug}",
                said,
                (head, "gold", "learned", "repetition"),
                numbers,
                draw,
            )
        )
    return made


def _numbers(results: Results, cells: Mapping[str, Any]) -> tuple[str, str, str]:
    gold, learned = (in_deviations(results, name, cells[name]["mean"]) for name in ("gold", "learned"))
    return f"{gold:.3g}", f"{learned:.3g}", f"{cells['repetition']['mean']:.3g}"
