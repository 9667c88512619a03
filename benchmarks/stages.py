"""Seconds of a step in each training stage of a finished quickstart: `python benchmarks/stages.py FAMILY RUN_DIR`.

Another commit's code is timed on the same files by its own settings: `PYTHONPATH=ITS_CHECKOUT python
benchmarks/stages.py FAMILY RUN_DIR`, where it can read the models and records of RUN_DIR. Prints one JSON line.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

STEPS = {"sft": 12, "reward_model": 10, "ppo": 6, "dpo": 8}
WARMUP = 2


def settings_of(stage: str, family: str, code: Path, overrides: dict[str, Any]) -> dict[str, Any]:
    """The stage as this code's quickstart has it, on the records of the finished one, for a few steps."""
    values = yaml.safe_load((code / "quickstart_configs" / family / f"{stage}.yaml").read_text())
    made = yaml.safe_load(Path(stage, "config.yaml").read_text())["data"]
    values["data"]["train"] = made["train"]
    values["data"].pop("evaluation", None)
    if stage == "reward_model":  # asks for some
        values["data"]["evaluation"] = made["evaluation"]
    values.pop("evaluation", None)
    values["training"].pop("num_epochs", None)
    values["training"] |= {"num_steps": STEPS[stage]} | (overrides if stage == "ppo" else {})
    return values


def seconds_of_steps(values: dict[str, Any]) -> list[float]:
    from posttrain import run
    from posttrain.config import load
    from posttrain.training.trainer import Trainer

    seconds: list[float] = []
    step = Trainer._one_step

    def clocked(self: Any) -> Any:
        started = time.perf_counter()
        result = step(self)
        seconds.append(time.perf_counter() - started)
        return result

    Trainer._one_step = clocked
    try:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "run.yaml"
            file.write_text(yaml.safe_dump(values))
            run.train(load(file), Path(scratch) / "run")
    finally:
        Trainer._one_step = step
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=["encoder_decoder", "decoder_only"])
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--keeps-prompts-together", action="store_true", help="in PPO")
    arguments = parser.parse_args()

    import posttrain

    try:
        from posttrain.commands.memory import keep_freed_memory
    except ImportError:  # an older commit
        pass
    else:
        keep_freed_memory()  # as every command does
    assert posttrain.__file__ is not None
    code = Path(posttrain.__file__).parent
    os.chdir(arguments.run_dir)  # the stages name each other's folders
    overrides = {"keeps_prompts_together": True} if arguments.keeps_prompts_together else {}
    medians = {
        stage: round(
            statistics.median(seconds_of_steps(settings_of(stage, arguments.family, code, overrides))[WARMUP:]),
            3,
        )
        for stage in STEPS
    }
    print(json.dumps({"code": str(code), "family": arguments.family, **overrides, "seconds": medians}), flush=True)


if __name__ == "__main__":
    main()
