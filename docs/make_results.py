"""Write the tables of docs/results.md from finished quickstarts, and docs/results.png from the T5 shape's seed 0.

    python docs/make_results.py "MACHINE" RUN_DIR [RUN_DIR ...]

Each RUN_DIR is named FAMILY-SEED. Its table stands below the line `<!-- tables -->` of results.md, in place of an
earlier one of that family and seed; the other tables stay.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from posttrain.evaluation.results import MEASURES
from posttrain.figures.curves import Curve, draw_curves, draw_intervals, draw_trade_off
from posttrain.figures.run_folder import read_metrics
from posttrain.figures.style import chart_style, model_label

DOCS = Path(__file__).parent
MARK = "<!-- tables -->\n"
DRAWN = "encoder_decoder-0"
FAULTS = {"wrong": ("Wrong-Grounding", "Unverifiable"), "irrelevant": ("Irrelevant",), "repeated": ("Redundant",)}


def table(run: Path, machine: str) -> str:
    family, _, seed = run.name.rpartition("-")
    summary = json.loads((run / "summary.json").read_text())
    faults = count_faults(run / "evaluation.jsonl")
    heads = [measure.label for measure in MEASURES] + [f"{kind} spans" for kind in FAULTS]
    lines = [
        f"## {family}, seed {seed}",
        "",
        f"| model | {' | '.join(heads)} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for model, cells in summary["models"].items():
        numbers = [cell(cells[measure.key], min(measure.decimals, 2)) for measure in MEASURES]
        lines.append(f"| {model_label(model)} | {' | '.join([*numbers, *map(str, faults[model])])} |")
    reward_model, seconds = summary["reward_model"], summary["seconds"]
    stages = ", ".join(f"{stage.replace('_', ' ')} {value:.0f}" for stage, value in seconds.items() if stage != "total")
    lines += [
        "",
        f"The reward model orders {reward_model['accuracy']:.3f} of {reward_model['n']:.0f} unseen decided pairs as",
        f"the annotators did; the true reward itself orders {reward_model['ceiling']:.3f}.",
        f"{machine}: {seconds['total']:.0f} s ({stages}).",
        "",
    ]
    return "\n".join(lines)


def cell(value: dict[str, float], decimals: int) -> str:
    mean, low, high = (f"{value[key]:.{decimals}f}" for key in ("mean", "low", "high"))
    return mean if low == high else f"{mean} [{low}, {high}]"


def count_faults(path: Path) -> dict[str, list[int]]:
    """Model → number of faulty spans of each kind in its answers."""
    counts: dict[str, list[int]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        kinds = [fault["kind"] for fault in row["faults"]]
        found = [sum(kind in names for kind in kinds) for names in FAULTS.values()]
        counts[row["model"]] = [a + b for a, b in zip(counts.get(row["model"], [0] * 3), found, strict=True)]
    return counts


def draw(run: Path, path: Path) -> None:
    models = json.loads((run / "summary.json").read_text())["models"]
    sft, ppo = (read_metrics(run / stage / "metrics.jsonl") for stage in ("sft", "ppo"))
    gold, kl = ({name: cells[key] for name, cells in models.items()} for key in ("gold_reward", "kl_to_sft"))
    with chart_style():
        figure = Figure(figsize=(10, 6.8), dpi=160, layout="constrained", facecolor="white")
        grid = figure.add_gridspec(4, 2)
        axes = figure.add_subplot(grid[:2, 0])
        axes.set_title("SFT: ROUGE-L on held-out prompts")
        draw_curves(axes, [Curve("ROUGE-L", sft["eval/rougeL"])], "F1")
        for row, (name, unit) in enumerate((("rollout/reward", "reward"), ("rollout/kl", "KL, nats"))):
            axes = figure.add_subplot(grid[row, 1])
            axes.set_title("" if row else "PPO: reward, and what it costs in KL")
            draw_curves(axes, [Curve(unit, ppo[name])], unit)
        axes = figure.add_subplot(grid[2:, 0])
        axes.set_title("Gold reward of each model")
        draw_intervals(axes, gold, "gold reward")
        axes = figure.add_subplot(grid[2:, 1])
        axes.set_title("Gold reward against KL")
        draw_trade_off(axes, gold, kl, "gold reward")
        figure.savefig(path)


def replace_tables(page: str, tables: Mapping[str, str]) -> str:
    """The page with these tables, by heading, and those that it has of other headings, by family and seed."""
    head, mark, below = page.partition(MARK)
    before, *parts = f"\n{below}".split("\n## ")
    if not mark or MARK in below or before.strip():
        sys.exit(f"results.md: below one line {MARK.strip()} there have to be tables only, each under a heading ##")
    known = {f"## {part.partition(chr(10))[0]}": f"## {part}".strip() for part in parts}
    known |= {heading: table.strip() for heading, table in tables.items()}
    order = sorted(known, key=_family_and_seed)
    return "\n\n".join([head + MARK.rstrip(), *(known[heading] for heading in order)]) + "\n"


def _family_and_seed(heading: str) -> tuple[bool, int]:
    return "encoder_decoder" not in heading, int(heading.rpartition(" ")[2])


def main(machine: str, *folders: str, docs: Path = DOCS) -> None:
    runs = [Path(folder) for folder in folders]
    for run in runs:
        if run.name == DRAWN:
            draw(run, docs / "results.png")
    if len({run.name for run in runs}) < len(runs):
        sys.exit("two folders have the same name, so the same family and seed")
    tables = {text.partition("\n")[0]: text for text in (table(run, machine) for run in runs)}
    page = docs / "results.md"
    page.write_text(replace_tables(page.read_text(), tables))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
