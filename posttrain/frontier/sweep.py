"""`posttrain frontier`: what a method gains for how far it moves, over a grid of settings, and when gain turns to loss.

Every point is a run of its own, trained from the same SFT model and measured on the same unseen prompts. What is done
is found again: a sweep that was stopped, by whatever, goes on where it was when the same command is given.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from posttrain import durable_files, run
from posttrain.data.jsonl import write_rows
from posttrain.figures import frontier as pictures
from posttrain.frontier.measuring import Bench, named_scores
from posttrain.frontier.parts import Samples, make_model, make_preferences, make_samples
from posttrain.frontier.plan import Plan, PlannedPoint, plan
from posttrain.frontier.settings import FrontierConfig, Point
from posttrain.frontier.theory import best_of_n, optimum
from posttrain.functional.kl import best_of_n_kl
from posttrain.machine import describe_machine
from posttrain.reading import strict_yaml
from posttrain.studies.measuring import interval
from posttrain.studies.parts import finish, finished, refuse_other_contents
from posttrain.studies.study import train_model
from posttrain.training.run_folder import RunLock
from posttrain.training.signals import Interrupted

log = logging.getLogger(__name__)
SETTINGS, RESULTS = "frontier.yaml", "results.json"
COLUMNS = (("kl", "nats", 2), ("gold", "", 3), ("learned", "", 2), ("length", "tokens", 1))
"""Of the table: names, units and decimals."""


@dataclass
class Sweep:
    config: FrontierConfig
    plan: Plan
    console: Console
    seconds: dict[str, float]

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)


def main(config: FrontierConfig, points: Sequence[Point], out: Path) -> None:
    """Everything that is missing in `out`; ends with results.json, two pictures, report.html and a table."""
    planned = plan(config, points, out)
    refuse_other_contents(out, SETTINGS, "sweep")
    with durable_files.faults_named(out, "give another --out"):
        out.mkdir(parents=True, exist_ok=True)
        lock = RunLock.acquire(out)
        durable_files.replace_text(out / SETTINGS, strict_yaml.write(config.model_dump(mode="json")))
    try:
        run.set_threads(config.num_threads)
        _run(Sweep(config, planned, Console(), {}))
    except (Interrupted, KeyboardInterrupt):
        log.info("%s keeps what is done: the same command goes on from there", out)
        raise
    finally:
        lock.release()


def _run(sweep: Sweep) -> None:
    shared = _shared_parts(sweep)
    bench = Bench(sweep.config, sweep.plan)
    sweep.say("[bold]samples[/bold]: of the SFT model, for best-of-n and the optimum")
    samples, sweep.seconds["samples"] = make_samples(bench)
    points = _of_samples(sweep.config, samples)
    for number, planned in enumerate(sweep.plan.points, 1):
        sweep.say(f"[bold]point {number}/{len(sweep.plan.points)}[/bold]: {planned.name}")
        points.append(_point(bench, planned))
        _write(sweep, shared, points, samples)
    results = _write(sweep, shared, points, samples)
    pictures.write_frontier(results, sweep.plan.out / "frontier.png")
    pictures.write_over_optimisation(results, sweep.plan.out / "over_optimisation.png")
    page = pictures.write_page(results, sweep.plan.out)
    print_table(results, sweep.console)
    sweep.say(f"{sum(results['seconds'].values()):.0f} s in all, those of earlier calls included. Report: {page}")


def _shared_parts(sweep: Sweep) -> dict[str, Any]:
    """Trains what all points need; what is known of the reward model."""
    runs = sweep.plan.runs
    for name in ("base", "sft", "judge"):
        if name in runs:
            sweep.say(f"[bold]{name}[/bold]")
            sweep.seconds[name] = make_model(runs[name])["seconds"]
    sweep.say("[bold]preferences[/bold]: samples of the SFT model, compared by simulated annotators")
    labels = make_preferences(sweep.config, sweep.plan)
    sweep.say("[bold]reward_model[/bold]")
    learned = make_model(runs["reward_model"])
    sweep.seconds |= {"preferences": labels["seconds"], "reward_model": learned["seconds"]}
    facts = {name: value for name, value in labels.items() if name not in ("mark", "seconds")}
    return facts | {"accuracy": learned["metrics"].get("eval/accuracy")}


def _of_samples(config: FrontierConfig, samples: Samples) -> list[dict[str, Any]]:
    """The SFT model itself, which is best of 1, and best-of-n."""

    def measured(n: int) -> dict[str, Any]:
        columns = {name: getattr(samples, name) for name in ("gold", "learned", "length", "repetition", "cut_share")}
        means = {name: best_of_n(samples.learned, values, n).tolist() for name, values in columns.items()}
        means["kl"] = [best_of_n_kl(n)] * len(samples.gold)
        return {"seed": config.seed, "measures": {name: interval(it, config.seed) for name, it in means.items()}}

    found = [{"name": "sft", "method": "sft", "label": "SFT", "setting": None, "value": None} | measured(1)]
    for method in config.methods:
        for n in method.best_of:
            point = {"name": f"{method.name}-n={n}", "method": method.name, "label": method.label, "setting": "n"}
            found.append(point | {"value": n, "is_kl_bound": True} | measured(n))
    return found


def _point(bench: Bench, planned: PlannedPoint) -> dict[str, Any]:
    folder, point, seed = planned.place.folder, planned.point, bench.config.seed
    found = finished(folder, bench.plan.measuring)
    if found is None:
        model, seconds = train_model(planned)
        started = time.perf_counter()
        generated = bench.measure(model)
        scores = named_scores(generated)
        texts = zip(generated.prompts, generated.responses, *scores.values(), strict=True)
        names = ("prompt", "response", *scores)
        write_rows(
            folder / "responses.jsonl",
            [dict(zip(names, (prompt.text, *rest), strict=True)) for prompt, *rest in texts],
        )
        measures = {name: interval(values, seed) for name, values in scores.items()}
        facts = {"measures": measures, "along": bench.along(planned)}
        found = finish(folder, bench.plan.measuring, seconds + time.perf_counter() - started, facts)
    method = point.method
    known = {"name": planned.name, "method": method.name, "label": method.label, "setting": method.varies}
    known |= {"value": point.value, "seed": point.seed, "folder": str(folder.relative_to(bench.plan.out))}
    known |= {"along": found["along"]} if method.is_watched else {}
    return known | {key: found[key] for key in ("seconds", "measures")}


def _write(
    sweep: Sweep, shared: Mapping[str, Any], points: Sequence[Mapping[str, Any]], samples: Samples
) -> dict[str, Any]:
    """results.json with what is known by now."""
    trained = [point for point in points if "seconds" in point]
    numbers = range(1, samples.gold.shape[1] + 1)
    chosen = {name: [float(np.mean(best_of_n(samples.learned, values, n))) for n in numbers]
              for name, values in (("gold", samples.gold), ("learned", samples.learned))}  # fmt: skip
    results = {
        "machine": describe_machine(1),
        "seconds": sweep.seconds | {"points": round(sum(point["seconds"] for point in trained), 1)},
        "is_complete": len(trained) == len(sweep.plan.points),
        "num_prompts": len(samples.gold),
        "num_samples": samples.gold.shape[1],
        "reward_model": dict(shared),
        "std_of_sft": {"gold": float(samples.gold.std()), "learned": float(samples.learned.std())},
        "optimum": [{"kl": kl, "gold": gold} for kl, gold in optimum(samples.gold)],
        "best_of_n": [
            {"n": n, "kl": best_of_n_kl(n), "gold": gold, "learned": learned}
            for n, gold, learned in zip(numbers, chosen["gold"], chosen["learned"], strict=True)
        ],
        "points": list(points),
    }
    path = sweep.plan.out / RESULTS
    with durable_files.faults_named(path, "make room, then run the same command again"):
        durable_files.replace_text(path, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return results


def print_table(results: Mapping[str, Any], console: Console) -> None:
    """One row a point: each mean, and under it the 95 % interval."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("Method\nsetting")
    for name, unit, _ in COLUMNS:
        table.add_column(Text(f"{name}\n{unit}"), justify="right")
    for point in results["points"]:
        setting = "" if point["setting"] is None else f"{point['setting'].rpartition('.')[2]} {point['value']:g}"
        cells = []
        for name, _, decimals in COLUMNS:
            mean, low, high = (f"{point['measures'][name][key]:.{decimals}f}" for key in ("mean", "low", "high"))
            sign = "≤ " if name == "kl" and point.get("is_kl_bound") else ""
            cells.append(Text.assemble((sign + mean, "bold"), ("" if low == high else f"\n[{low}, {high}]", "dim")))
        table.add_row(Text.assemble((point["label"], "bold"), "\n", setting), *cells)
    console.print(table)
