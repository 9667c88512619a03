"""Run workloads side by side and write docs/benchmarks.md: `python -m benchmarks [ROW ...] [--repeats N]`.

Each contender has a process of its own. Those of a row take turns (A B C A B C ...), so that a machine that slows down
slows all of them; what is written is the median over the turns.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks import growth
from benchmarks.meter import MODELS, matmul_gflops
from benchmarks.shapes import SHAPES, folder

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
RESULTS = Path("runs/benchmarks/results.json")
INTRODUCTION = Path(__file__).with_name("introduction.md")


@dataclass(frozen=True)
class Row:
    """One workload: the first contender is ours."""

    name: str
    module: str
    contenders: tuple[str, ...]
    options: tuple[str, ...] = ()


def generation(shape: str, samples: int) -> Row:
    peers = ("transformers",) if shape == "t5-small" else ("transformers", "transformers static cache")
    options = ("--shape", shape, "--samples", str(samples))
    return Row(f"generation, {shape}, K = {samples}", "generation", ("posttrain", *peers), options)


def in_bfloat16(row: Row) -> Row:
    return Row(f"{row.name}, bfloat16", row.module, row.contenders, (*row.options, "--dtype", "bfloat16"))


SFT = ("posttrain", "trl", "trl grouped by length", "transformers by hand")
PPO = ("posttrain ppo", "fine-grained loop")
PARTS = ("rollout", "scoring", "update")
GROWTH = Row("growth, llama-15m", "growth", tuple(growth.CONTENDERS))
IN_FLOAT32 = (
    *(generation(shape, samples) for shape in ("llama-15m", "t5-small") for samples in (1, 4)),
    Row("SFT, llama-15m", "sft", SFT, ("--shape", "llama-15m")),
    Row("SFT, llama-60m", "sft", SFT, ("--shape", "llama-60m", "--steps", "2")),
    Row(
        "SFT, t5-small",
        "sft",
        ("posttrain", "Seq2SeqTrainer", "Seq2SeqTrainer grouped by length"),
        ("--shape", "t5-small"),
    ),
    Row("reward model, llama-15m", "preferences", ("posttrain reward model", "trl reward model")),
    Row(
        "DPO, llama-15m",
        "preferences",
        ("posttrain dpo", "trl dpo", "trl dpo precomputed", "transformers dpo by hand"),
        ("--steps", "2"),
    ),
    Row(
        "RLOO step, llama-15m, K = 4",
        "online",
        ("posttrain rloo", "trl rloo", "trl rloo without checkpointing", "transformers rloo by hand"),
        ("--steps", "1"),
    ),
    Row("PPO step, llama-15m", "online", PPO, ("--steps", "1", "--batch", "4")),
    Row("PPO step, t5-small", "online", PPO, ("--shape", "t5-small", "--steps", "1", "--batch", "4")),
)
ONLY_IN_FLOAT32 = ("online",)
ROWS = (*IN_FLOAT32, *(in_bfloat16(row) for row in IN_FLOAT32 if row.module not in ONLY_IN_FLOAT32))


def measure(row: Row, contender: str, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.{row.module}", contender, "--threads", str(threads), *row.options]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(row: Row, repeats: int, threads: int) -> dict[str, list[dict[str, Any]]]:
    turns: dict[str, list[dict[str, Any]]] = {contender: [] for contender in row.contenders}
    for _ in range(repeats):
        for contender in row.contenders:
            turns[contender].append(measure(row, contender, threads))
            print(row.name, contender, f"{turns[contender][-1]['per_second']:.1f}", flush=True)
    return turns


def median(turns: Sequence[Mapping[str, Any]], key: str) -> float:
    return statistics.median(turn[key] for turn in turns)


def lines_of(row: Row, turns: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    ours = turns[row.contenders[0]]
    lines = []
    for contender, theirs in turns.items():
        speed, memory = (median(theirs, key) for key in ("per_second", "above_model_mb"))
        times = "" if theirs is ours else f"{median(ours, 'per_second') / speed:.1f}×"
        share = "" if theirs is ours or not memory > 0 else f"{median(ours, 'above_model_mb') / memory:.2f}"
        unit = f"{theirs[0]['unit']} a second"
        lines.append(f"| {row.name} | {contender} | {speed:.1f} | {unit} | {times} | {megabytes(memory)} | {share} |")
    return lines


def megabytes(memory: float) -> str:
    """Nothing where it was not measured."""
    return "" if math.isnan(memory) else f"{memory:.0f}"


def table(titles: Sequence[str], lines: Sequence[str]) -> str:
    return "\n".join([f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *lines]) + "\n"


def shares(found: Mapping[str, Any]) -> list[str]:
    """Of the speed of square products, which the same process measured before."""
    lines = []
    for row in ROWS:
        turns = found.get(row.name, {}).get(row.contenders[0], [])
        if turns and "useful_gflop" in turns[0]:
            speed = statistics.median(turn["useful_gflop"] / turn["useful_seconds"] for turn in turns)
            part = statistics.median(
                turn["useful_gflop"] / turn["useful_seconds"] / turn["peak_gflops"] for turn in turns
            )
            name = row.name.replace(" step", " update")
            lines.append(f"| {name} | {speed:.0f} | {median(turns, 'peak_gflops'):.0f} | {part:.0%} |")
    return lines


def splits(found: Mapping[str, Any]) -> list[str]:
    """Seconds of a step's parts."""
    lines = []
    for row in ROWS:
        for contender, turns in found.get(row.name, {}).items():
            if "split" in turns[0]:
                parts = [statistics.median(turn["split"][part] for turn in turns) for part in PARTS]
                lines.append(f"| {row.name} | {contender} | {' | '.join(f'{part:.1f}' for part in parts)} |")
    return lines


def growths(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, turns in found.get(GROWTH.name, {}).items():
        unit = turns[0]["unit"]
        microseconds = 1e6 / median(turns, "per_second")
        lines.append(f"| {name} | {microseconds:.0f} | {unit} | {megabytes(median(turns, 'above_model_mb'))} |")
    return lines


def matches(row: Row, parts: Sequence[str]) -> bool:
    return not parts or any(part in row.name for part in parts)


def possible_rows() -> tuple[Row, ...]:
    """In bfloat16 too where this machine is faster in it."""
    is_faster = matmul_gflops(torch.bfloat16) > matmul_gflops(torch.float32)
    return ROWS if is_faster else IN_FLOAT32


def machine(threads: int) -> str:
    cpu = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    peers = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl"))
    torch.set_num_threads(threads)
    speeds = ", ".join(f"{matmul_gflops(d):.0f} in {str(d)[6:]}" for d in (torch.float32, torch.bfloat16))
    return (
        f"{cpu or platform.processor()}, {threads} threads, Python {platform.python_version()}, {peers}. "
        f"Square products of 2,048 run at {speeds} GFLOP/s."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="parts of the names of rows; all without")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    chosen = [row for row in (*possible_rows(), GROWTH) if matches(row, arguments.rows)]
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    for shape in SHAPES:  # before any process is measured
        folder(shape, MODELS)
    for row in chosen:
        found[row.name] = compare(row, arguments.repeats, arguments.threads)
        RESULTS.write_text(json.dumps(found, indent=1))
    PAGE.write_text(page(found, machine(arguments.threads)))


def page(found: Mapping[str, Any], where: str) -> str:
    lines = [line for row in ROWS if row.name in found for line in lines_of(row, found[row.name])]
    parts = [
        INTRODUCTION.read_text(),
        where + "\n",
        table(("workload", "contender", "speed", "unit", "ours is", "MB above the model", "ours over it"), lines),
        "## Share of the machine's speed\n",
        table(("workload", "useful GFLOP/s", "square products, GFLOP/s", "share"), shares(found)),
        "## Seconds of a step\n",
        table(("workload", "contender", *PARTS), splits(found)),
        "## Growth of ours\n",
        table(("what", "µs a unit", "unit", "MB above the model"), growths(found)),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    main()
