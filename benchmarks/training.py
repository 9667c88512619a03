"""Training runs of the contenders on the same batches in the same order, a step timed at a time."""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.meter import MODELS, WARMUP, Meter
from benchmarks.shapes import folder

LEARNING_RATE = 1e-6  # what is learnt does not matter, and shall not change what is sampled


def num_rows(arguments: argparse.Namespace) -> int:
    return (arguments.steps + WARMUP) * arguments.batch


def posttrain(
    arguments: argparse.Namespace, unit: str, units: Sequence[float], algorithm: Mapping[str, Any], source: str,
    rows: Sequence[Mapping[str, Any]], **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """`units` of each row. `posttrain train`, whose run folder says when each step was done.

    `more` are sections of the run, or settings of its section `training`.
    """
    from posttrain import cli
    from posttrain.models.loading import load_language_model

    path = str(folder(arguments.shape, MODELS))
    load_language_model(path, 0.0)
    meter = Meter(unit)
    meter.start()
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        records = {"source": source, "path": str(data)}
        sections = {name: value for name, value in more.items() if name in ("rollout", "rewards")}
        settings: dict[str, Any] = {
            "model": {"path": path, "compute_dtype": arguments.dtype},
            "algorithm": dict(algorithm),
            "data": {
                "train": records, "evaluation": records, "should_shuffle": False,
                "max_prompt_tokens": 512, "max_response_tokens": 128,
            },
            "evaluation": {"num_examples": 1},  # a reward model asks for some
            "training": {
                "num_steps": arguments.steps + WARMUP, "batch_size": arguments.batch, "learning_rate": LEARNING_RATE,
                "schedule": "constant",
            } | {name: value for name, value in more.items() if name not in sections},
            "checkpoint": {"every": 1000, "keep": 1},
            "num_threads": arguments.threads,
        } | sections  # fmt: skip
        out = Path(scratch) / "run"
        run = Path(scratch) / "run.yaml"
        run.write_text(json.dumps(settings))  # which is YAML too
        if cli.main(["train", str(run), "--out", str(out)]):
            raise SystemExit("the run failed")
        lines = [json.loads(line) for line in (out / "timings.jsonl").read_text().splitlines()]
    # A step is the first line of its number; what an evaluation took stands in a line of its own.
    steps = [
        line["seconds"] - before["seconds"]
        for before, line in zip([{"step": 0, "seconds": 0.0}, *lines], lines, strict=False)
        if line["step"] > before["step"]
    ]
    meter.seconds, meter.units = steps, by_step(units, arguments.batch)
    return meter.result()


def by_step(units: Sequence[float], batch: int) -> list[float]:
    return [sum(units[start : start + batch]) for start in range(0, len(units), batch)]
