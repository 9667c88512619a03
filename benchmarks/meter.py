"""What a contender's process measures of itself: seconds and useful units of each step, memory and matmul speed."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

MODELS = Path(os.environ.get("POSTTRAIN_BENCHMARK_MODELS", "runs/benchmarks/models"))
WARMUP = 1
"""Steps that are not counted: the first allocates."""


def peak_mb() -> float:
    """Of this process since `forget_peak`. Not `ru_maxrss`: a process starts with that of the one that forked it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def forget_peak() -> None:
    """From here on, the peak is that of what follows: loading a model may have taken more than using it."""
    Path("/proc/self/clear_refs").write_text("5")


@dataclass
class Meter:
    """Steps of one contender. `unit` is what is useful: padding and prompts that are read twice count once or never."""

    unit: str
    seconds: list[float] = field(default_factory=list)
    units: list[float] = field(default_factory=list)
    before_mb: float = 0.0
    _last: float = 0.0

    def start(self) -> None:
        """Call when the model stands in memory and the first step is about to begin."""
        forget_peak()
        self.before_mb, self._last = peak_mb(), time.perf_counter()

    def step(self, units: float) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self.units.append(units)
        self._last = now

    @contextmanager
    def timed(self) -> Iterator[list[float]]:
        """One step; what happened since the step before does not count. Append its units to what is yielded."""
        self._last = time.perf_counter()
        units: list[float] = []
        yield units
        self.step(sum(units))

    def result(self) -> dict[str, Any]:
        """Units a second over all counted steps, and the median of a step."""
        seconds, units = self.seconds[WARMUP:], self.units[WARMUP:]
        return {
            "unit": self.unit,
            "per_second": sum(units) / sum(seconds),
            "step_seconds": statistics.median(seconds),
            "steps": len(seconds),
            "units": sum(units),
            "above_model_mb": peak_mb() - self.before_mb,
            "threads": torch.get_num_threads(),
        }


Contender = Callable[[argparse.Namespace], Mapping[str, Any]]


def main(contenders: Mapping[str, Contender], **defaults: Any) -> None:
    """The command line of a workload: one contender, one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=list(contenders))
    parser.add_argument("--shape", default="llama-15m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4, help="counted steps")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--samples", type=int, default=1, help="responses a prompt")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(**defaults)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    peak = matmul_gflops(getattr(torch, arguments.dtype))
    result = {"contender": arguments.contender, "peak_gflops": peak, **contenders[arguments.contender](arguments)}
    print(json.dumps(result), flush=True)


def matmul_gflops(dtype: torch.dtype, size: int = 2048, num: int = 5) -> float:
    """The machine's speed in this process: the best of `num` square products."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    a @ b
    best = float("inf")
    for _ in range(num):
        started = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9
