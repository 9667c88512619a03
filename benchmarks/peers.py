"""TRL's and transformers' trainers as they ship, with a clock on their steps."""

import argparse
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.meter import WARMUP, Meter
from benchmarks.training import LEARNING_RATE

QUIET = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "WANDB_DISABLED": "true",
}


def arguments_of(arguments: argparse.Namespace, scratch: str, **more: Any) -> dict[str, Any]:
    """What every peer's configuration is given; the rest is its default."""
    return {
        "output_dir": scratch, "per_device_train_batch_size": arguments.batch, "max_steps": arguments.steps + WARMUP,
        "learning_rate": LEARNING_RATE, "logging_steps": 10**6, "save_strategy": "no", "report_to": [],
        "disable_tqdm": True, "use_cpu": True, "seed": arguments.seed, "bf16": arguments.dtype == "bfloat16",
        "gradient_checkpointing": False, "train_sampling_strategy": "sequential",
    } | more  # fmt: skip


def run(make: Any, unit: str, units: Sequence[float]) -> Mapping[str, Any]:
    """`make(scratch)` gives a trainer, whose model stands in memory; `units` of each step."""
    from transformers import TrainerCallback

    warnings.filterwarnings("ignore")
    os.environ.update(QUIET)
    meter = Meter(unit)

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            meter.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.step(units[len(meter.seconds)])

    with tempfile.TemporaryDirectory() as scratch:
        trainer = make(scratch)
        trainer.add_callback(Clock())
        trainer.train()
    return meter.result()
