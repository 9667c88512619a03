"""TRL's and transformers' trainers as they ship, with a clock on their steps."""

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.meter import WARMUP, Meter
from benchmarks.shapes import PAD
from benchmarks.training import LEARNING_RATE

IGNORED = -100  # label of what is not learnt

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
        "train_sampling_strategy": "sequential",
    } | more  # fmt: skip


def num_tokens(batch: Mapping[str, Any]) -> float:
    """Of prompts and responses, without padding. An encoder-decoder's labels are responses; others' repeat the ids."""
    ids, labels = batch["input_ids"], batch["labels"]
    num = int((ids != PAD).sum())
    return float(num if ids.shape == labels.shape else num - len(ids) + int((labels != IGNORED).sum()))


def run(make: Any, unit: str, count: Callable[[Any], float]) -> Mapping[str, Any]:
    """`make(scratch)` gives a trainer, whose model stands in memory; `count` the useful units of a collated batch."""
    from transformers import TrainerCallback

    warnings.filterwarnings("ignore")
    os.environ.update(QUIET)
    meter, units = Meter(unit), list[float]()

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            meter.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.step(units[len(meter.seconds)])  # the loader is a batch ahead

    with tempfile.TemporaryDirectory() as scratch:
        trainer = make(scratch)
        collate = trainer.data_collator

        def counted(rows: Any) -> Any:
            batch = collate(rows)
            units.append(count(batch))
            return batch

        trainer.data_collator = counted
        trainer.add_callback(Clock())
        trainer.train()
    return meter.result()
