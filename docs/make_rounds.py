"""Write the tables of docs/rounds.md from finished loops of several seeds, and docs/rounds.png from the first.

    python docs/make_rounds.py "MACHINE" RUN_DIR [RUN_DIR ...]

Each RUN_DIR is what `posttrain iterate` wrote, of the same file and another seed. Intervals are over seeds and prompts,
both drawn again; a rise is taken prompt by prompt within each seed.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.data.jsonl import read_rows
from posttrain.reproduce.fine_grained_results import interval

DOCS = Path(__file__).parent
MARK = "<!-- tables -->\n"
COLUMNS = (("gold", "gold reward", 3), ("judge", "neutral judge", 2), ("kl", "KL to first", 2), ("length", "tokens", 1))


def tables(runs: Sequence[Path], machine: str) -> str:
    results = [json.loads((run / "results.json").read_text()) for run in runs]
    names = results[0]["policies"]
    values = {name: [_columns(run / it["folders"][name]) for run, it in zip(runs, results, strict=True)]
              for name in names}  # fmt: skip
    heads = [title for _, title, _ in COLUMNS]
    lines = [f"| policy | {' | '.join(heads)} | win rate against the first, by gold | the same by the neutral judge |",
             "|---" * (len(heads) + 3) + "|"]  # fmt: skip
    for name in names:
        cells = [_cell(interval(_stacked(values[name], key)), decimals) for key, _, decimals in COLUMNS]
        wins = [_cell(interval(_wins(values[name], values[names[0]], key)), 2) for key in ("gold", "judge")]
        lines.append(f"| {name} | {' | '.join([*cells, *wins])} |")
    seeds = [f"seed {it['seed']}" for it in results]
    lines += ["", f"| gold reward, rise of | over all seeds | {' | '.join(seeds)} |", "|---" * (len(seeds) + 2) + "|"]
    for earlier, later in pairwise(names):
        rise = _stacked(values[later], "gold") - _stacked(values[earlier], "gold")
        each = [f"{value:+.3f}" for value in rise.mean(1)]
        lines.append(f"| {later} over {earlier} | {_cell(interval(rise), 3)} | {' | '.join(each)} |")
    lines += ["", f"| reward model of | {' | '.join(f'samples of {name}' for name in names)} |",
              "|---" * (len(names) + 1) + "|"]  # fmt: skip
    for number in range(1, len(names)):
        shares = [_share(results, number, samples_of) for samples_of in range(len(names))]
        lines.append(f"| round {number} | {' | '.join(shares)} |")
    ceilings = [f"{np.mean([it['labels'][place]['ceiling'] for it in results]):.3f}" for place in range(len(names))]
    lines.append(f"| the true reward | {' | '.join(ceilings)} |")
    seconds = [sum(it["seconds"].values()) for it in results]
    lines += ["", f"{machine}: {', '.join(f'{value:.0f}' for value in seconds)} s."]
    return "\n".join(lines) + "\n"


def _columns(folder: Path) -> dict[str, list[float]]:
    rows = [row for _, row in read_rows(folder / "responses.jsonl")]
    return {key: [row[key] for row in rows] for key, _, _ in COLUMNS}


def _stacked(of_seeds: Sequence[Mapping[str, Any]], key: str) -> Any:
    return np.array([it[key] for it in of_seeds])


def _wins(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], key: str) -> Any:
    return (1 + np.sign(_stacked(ours, key) - _stacked(theirs, key))) / 2


def _share(results: Sequence[Mapping[str, Any]], of_round: int, samples_of: int) -> str:
    found = [cell for it in results for cell in it["accuracy"]
             if (cell["of_round"], cell["samples_of"]) == (of_round, samples_of)]  # fmt: skip
    return f"{sum(it['mean'] * it['n'] for it in found) / sum(it['n'] for it in found):.3f}"


def _cell(value: Mapping[str, float], decimals: int) -> str:
    mean, low, high = (f"{value[key]:.{decimals}f}" for key in ("mean", "low", "high"))
    return mean if low == high else f"{mean} [{low}, {high}]"


def main(machine: str, runs: Sequence[Path], docs: Path = DOCS) -> None:
    page = docs / "rounds.md"
    head, mark, _ = page.read_text().partition(MARK)
    page.write_text(head + mark + "\n" + tables(runs, machine))
    shutil.copy(runs[0] / "evolution.png", docs / "rounds.png")


if __name__ == "__main__":
    main(sys.argv[1], [Path(word) for word in sys.argv[2:]])
