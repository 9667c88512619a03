"""The pictures of `posttrain iterate`: what each round gained by each judge, who beats whom, and the reward models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from posttrain import durable_files
from posttrain.figures.page import Page, Section, render
from posttrain.figures.pictures import Picture, picture
from posttrain.figures.style import BLUE, GREEN, INK, MUTED, PAPER, SERIES, VERMILION, Tone, chart_style

Results = Mapping[str, Any]
"""The contents of results.json."""

JUDGES: Mapping[str, tuple[str, Tone, str]] = {
    "gold": ("gold reward", BLUE, "o"),
    "judge": ("neutral judge", GREEN, "D"),
    "learned": ("newest reward model", VERMILION, "s"),
}
DASHES = (0, (4, 3))
EVEN = 0.5
MARGIN = 0.06  # of an axis around its points


def write_evolution(results: Results, path: Path) -> None:
    """Three panels: win rates against the first policy, the same under two judges, and the reward models' accuracy."""
    with chart_style():
        figure = Figure(figsize=(11.4, 3.7), layout="constrained", facecolor=PAPER.light)
        left, middle, right = figure.subplots(1, 3)
        left.set_title("Win rate against the first policy")
        draw_win_rates(left, results)
        across, up = two_judges(results)
        middle.set_title("Under two judges" if across != up else "Under one judge")
        draw_two_judges(middle, results)
        right.set_title("Reward models on held-out labels")
        draw_accuracy(right, results)
        figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def write_win_rates(results: Results, path: Path) -> None:
    """A matrix for each judge."""
    judges = judges_of(results)
    size = 0.9 * len(results["policies"]) + 1.2
    with chart_style():
        figure = Figure(figsize=(size * len(judges), size), layout="constrained", facecolor=PAPER.light)
        for ax, judge in zip(figure.subplots(1, len(judges), squeeze=False).flat, judges, strict=True):
            ax.set_title(f"By the {JUDGES[judge][0]}")
            draw_matrix(ax, results, judge)
        figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def judges_of(results: Results) -> list[str]:
    return [judge for judge in JUDGES if judge in results["win_rates"]]


def two_judges(results: Results) -> tuple[str, str]:
    """The reward model that was learnt from, and the best that is known beside it: a neutral judge, or the truth."""
    judges = judges_of(results)
    across = "learned" if "learned" in judges else judges[0]
    return across, next((judge for judge in ("judge", "gold") if judge in judges), across)


def draw_win_rates(ax: Axes, results: Results) -> None:
    for place, judge in enumerate(judges_of(results)):
        label, tone, mark = JUDGES[judge]
        cells = _against_first(results, judge)
        across = [number + 0.05 * (place - 1) for number in range(len(cells))]
        for x, cell in zip(across, cells, strict=True):
            ax.plot([x, x], [cell["low"], cell["high"]], color=tone.light, linewidth=1.2)
        ax.plot(across, [cell["mean"] for cell in cells], color=tone.light, marker=mark, label=label)
    ax.axhline(EVEN, color=MUTED.light, linestyle=DASHES, linewidth=1.0)
    ax.set_xticks(range(len(results["policies"])), results["policies"])
    ax.set_ylabel("win rate (ties are half, 95 % interval)")
    ax.legend(loc="upper left")


def draw_two_judges(ax: Axes, results: Results) -> None:
    """A round that only the reward model likes goes right and not up."""
    across, up = two_judges(results)
    points = list(zip(_against_first(results, across), _against_first(results, up), strict=True))
    ends = [cell[end] for pair in points for cell in pair for end in ("low", "high")]
    low, high = min(ends) - MARGIN, max(ends) + MARGIN
    ax.plot([low, high], [low, high], color=MUTED.light, linestyle=DASHES, linewidth=1.0)
    ax.plot([x["mean"] for x, _ in points], [y["mean"] for _, y in points], color=INK.light, linewidth=1.0)
    for place, (x, y) in enumerate(points):
        tone = SERIES[place % len(SERIES)][0]
        ax.plot([x["low"], x["high"]], [y["mean"]] * 2, color=tone.light, linewidth=1.2)
        ax.plot([x["mean"]] * 2, [y["low"], y["high"]], color=tone.light, linewidth=1.2)
        ax.plot(x["mean"], y["mean"], marker="o", markersize=7, color=tone.light, markeredgecolor=PAPER.light)
        ax.annotate(results["policies"][place], (x["mean"], y["mean"]), xytext=(6, -11), textcoords="offset points")
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_xlabel(f"win rate by the {JUDGES[across][0]}")
    ax.set_ylabel(f"win rate by the {JUDGES[up][0]}")


def draw_accuracy(ax: Axes, results: Results) -> None:
    """Of each round's reward model, on the samples of each policy: does it hold for what is written now?"""
    rounds = sorted({it["of_round"] for it in results["accuracy"]})
    for number in rounds:
        tone, mark = SERIES[(number - 1) % len(SERIES)]
        cells = sorted((it for it in results["accuracy"] if it["of_round"] == number), key=lambda it: it["samples_of"])
        across = [it["samples_of"] + 0.05 * (number - (len(rounds) + 1) / 2) for it in cells]
        for x, cell in zip(across, cells, strict=True):
            ax.plot([x, x], [cell["low"], cell["high"]], color=tone.light, linewidth=1.2)
        ax.plot(across, [it["mean"] for it in cells], color=tone.light, marker=mark, label=f"of round {number}")
    ceilings = [(place, it["ceiling"]) for place, it in enumerate(results["labels"]) if it.get("ceiling") is not None]
    if ceilings:
        ax.plot(*zip(*ceilings, strict=True), color=MUTED.light, linestyle=DASHES, linewidth=1.0, label="gold reward")
    ax.set_xticks(range(len(results["policies"])), results["policies"])
    ax.set_xlabel("samples of")
    ax.set_ylabel("share of decided pairs in order")
    ax.legend(loc="best")


def draw_matrix(ax: Axes, results: Results, judge: str) -> None:
    """How often the row's policy beats the column's."""
    cells = results["win_rates"][judge]
    names = results["policies"][: len(cells)]
    for row, line in enumerate(cells):
        for column, cell in enumerate(line):
            tone = BLUE if cell["mean"] >= EVEN else VERMILION
            strength = min(1.0, 2 * abs(cell["mean"] - EVEN))
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=tone.light, alpha=0.6 * strength))
            ax.text(column, row, f"{cell['mean']:.2f}", ha="center", va="center", color=INK.light)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.grid(visible=False)
    ax.set_xlabel("against")


def write_page(results: Results, folder: Path) -> Path:
    """folder/report.html: the pictures with their numbers, in one self-contained file."""
    seconds = dict(results["seconds"])
    page = Page(
        title="Rounds of preferences",
        machine=" · ".join(f"{name} {results['machine'][name]}" for name in ("cpu", "threads", "torch")),
        sections=[
            Section(
                "What each round gained",
                "Every policy answers the same unseen prompts. The reward model is what policies learn from; the "
                "neutral judge learns from labels of its own and teaches nobody.",
                [*_measure_pictures(results), _win_rate_picture(results), _two_judges_picture(results)],
                _facts(results),
            ),
            Section(
                "Do the reward models hold?",
                "Each round's reward model on held-out labels of every policy's samples. The dashed line is the true "
                "reward on the same labels, which are harder where answers are alike: a reward model that falls more "
                "than it does, to the right of its own round, no longer holds.",
                [_accuracy_picture(results)] if results["accuracy"] else [],
            ),
            Section(
                "Each against each",
                "How often the row's policy beats the column's on the same prompt, a tie being half.",
                [_matrix_picture(results, judge) for judge in judges_of(results)],
            ),
        ],
        seconds=seconds | {"total": sum(seconds.values())},
    )
    path = folder / "report.html"
    with durable_files.faults_named(path, "make room, or make the folder writable"):
        durable_files.replace_text(path, render(page))
    return path


def _against_first(results: Results, judge: str) -> list[Mapping[str, float]]:
    return [row[0] for row in results["win_rates"][judge]]


def _measure_pictures(results: Results) -> list[Picture]:
    """The gold reward where it is known, and how far each policy moved."""
    found = []
    for name, title in (("gold", "Gold reward"), ("kl", "KL to the first policy, nats per response")):
        cells = {policy: own[name] for policy, own in results["measures"].items() if name in own}
        if cells:
            found.append(_cells_picture(name, title, cells))
    return found


def _cells_picture(name: str, title: str, cells: Mapping[str, Mapping[str, float]]) -> Picture:
    def draw(ax: Axes) -> None:
        for place, cell in enumerate(cells.values()):
            ax.plot([place] * 2, [cell["low"], cell["high"]], color=BLUE.light, linewidth=1.4)
        ax.plot(range(len(cells)), [cell["mean"] for cell in cells.values()], color=BLUE.light, marker="o")
        ax.set_xticks(range(len(cells)), list(cells))

    rows = [(policy, *(f"{cell[end]:.3g}" for end in ("mean", "low", "high"))) for policy, cell in cells.items()]
    said = f"{title}. " + " ".join(f"{policy}: {mean}, from {low} to {high}." for policy, mean, low, high in rows)
    return picture(title, "Mean over prompts with its 95 % interval.", name, said, ("policy", "mean", "low", "high"),
                   rows, draw)  # fmt: skip


def _win_rate_picture(results: Results) -> Picture:
    judges = judges_of(results)
    columns = [[f"{cell['mean']:.3f}" for cell in _against_first(results, judge)] for judge in judges]
    rows = [(name, *cells) for name, *cells in zip(results["policies"], *columns, strict=True)]
    said = " ".join(f"{row[0]}: {', '.join(row[1:])}." for row in rows)
    return picture(
        "Win rate against the first policy", "Ties are half; bars are 95 % intervals.", "win-rates",
        f"Win rates against the first policy by {', '.join(JUDGES[it][0] for it in judges)}. {said}",
        ("policy", *(JUDGES[judge][0] for judge in judges)), rows, lambda ax: draw_win_rates(ax, results),
    )  # fmt: skip


def _two_judges_picture(results: Results) -> Picture:
    across, up = two_judges(results)
    both = zip(_against_first(results, across), _against_first(results, up), strict=True)
    rows = [(name, f"{x['mean']:.3f}", f"{y['mean']:.3f}")
            for name, (x, y) in zip(results["policies"], both, strict=True)]  # fmt: skip
    return picture(
        "The same under two judges",
        "Above the diagonal the judge of the upright axis likes a round more; a step to the right and not up is liked "
        "by the reward model alone.",
        "two-judges", " ".join(f"{name}: {x} against {y}." for name, x, y in rows),
        ("policy", JUDGES[across][0], JUDGES[up][0]), rows, lambda ax: draw_two_judges(ax, results), height=3.4,
    )  # fmt: skip


def _accuracy_picture(results: Results) -> Picture:
    rows = [
        (f"round {it['of_round']}", results["policies"][it["samples_of"]], f"{it['mean']:.3f}", f"{it['low']:.3f}",
         f"{it['high']:.3f}", str(it["n"]))
        for it in results["accuracy"]
    ]  # fmt: skip
    said = " ".join(f"Reward model of {model} on samples of {policy}: {mean}." for model, policy, mean, *_ in rows)
    return picture(
        "Accuracy on held-out labels", "Share of decided pairs in order, with its 95 % interval.", "accuracy", said,
        ("reward model of", "samples of", "mean", "low", "high", "pairs"), rows,
        lambda ax: draw_accuracy(ax, results),
    )  # fmt: skip


def _matrix_picture(results: Results, judge: str) -> Picture:
    cells = results["win_rates"][judge]
    names = results["policies"][: len(cells)]
    rows = [(name, *(f"{cell['mean']:.2f}" for cell in line)) for name, line in zip(names, cells, strict=True)]
    said = " ".join(f"{row[0]} against {', '.join(names)}: {', '.join(row[1:])}." for row in rows)
    return picture(
        f"By the {JUDGES[judge][0]}", "Blue wins, red loses.", f"matrix-{judge}", said, ("policy", *names), rows,
        lambda ax: draw_matrix(ax, results, judge), height=3.4,
    )  # fmt: skip


def _facts(results: Results) -> dict[str, str]:
    """How much the gold reward, or the best judge that is known, rose in each round."""
    judge = next(iter(judges_of(results)), None)
    if judge is None:
        return {}
    return {
        f"{JUDGES[judge][0]}, round {number} over the one before": "{mean:+.3f} [{low:.3f}, {high:.3f}]".format(**it)
        for number, it in enumerate(results["rises"][judge], 1)
    }
