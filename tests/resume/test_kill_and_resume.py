"""A run that is killed with SIGKILL at random moments and resumed ends with the bits of an undisturbed one."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.resume.small_runs import (
    METHODS,
    Command,
    bits,
    config_of,
    num_lines,
    status_of,
    trained_steps,
    write_config,
)


def seconds_of_a_step(run: Path) -> float:
    return json.loads((run / "timings.jsonl").read_text().splitlines()[-1])["seconds"] / len(trained_steps(run))


def kill_and_compare(material: Path, folder: Path, method: str, num_steps: int, num_kills: int) -> int:
    """How many of the kills came in the middle of a save."""
    config = write_config(folder / "run.yaml", config_of(material, method, num_steps))
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    code, errors = Command(folder / "errors", "train", config, "--out", undisturbed).finish()
    assert code == 0, errors
    assert trained_steps(undisturbed) == list(range(1, num_steps + 1))

    rng = random.Random(method)
    moments = sorted(rng.choice(range(1, num_steps - 2)) for _ in range(num_kills))
    num_in_a_save = 0
    command = Command(folder / "errors", "train", config, "--out", killed)
    for moment in moments:  # somewhere in the step, or in the save, that follows so many lines of the log
        is_time = lambda n=moment: num_lines(killed / "metrics.jsonl") >= n  # noqa: E731
        command.kill_when(is_time, rng.uniform(0, seconds_of_a_step(undisturbed)))
        num_in_a_save += any((killed / "checkpoints").glob(".tmp-*"))
        command = Command(folder / "errors", "resume", killed)
    code, errors = command.finish()
    assert code == 0, errors
    assert bits(killed) == bits(undisturbed)
    assert status_of(killed)["state"] == "done"
    return num_in_a_save


IN_ANOTHER = ("sft_decoder_only", "reinforce", "ppo")
"""All that they save is also saved by sft, reinforce_lora or ppo_adaptive."""


@pytest.mark.parametrize(
    "method", [pytest.param(it, marks=pytest.mark.slow) if it in IN_ANOTHER else it for it in METHODS]
)
def test_killed_and_resumed_equals_undisturbed(material: Path, tmp_path: Path, method: str) -> None:
    kill_and_compare(material, tmp_path, method, num_steps=12, num_kills=2)
    if method == "sft":
        before = bits(tmp_path / "killed")
        code, errors = Command(tmp_path / "errors", "resume", tmp_path / "killed").finish()
        assert code == 0, errors
        assert bits(tmp_path / "killed") == before, "resuming a finished run changes nothing"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_killed_twenty_times_equals_undisturbed(material: Path, tmp_path: Path, method: str) -> None:
    num_in_a_save = kill_and_compare(material, tmp_path, method, num_steps=40, num_kills=20)
    print(f"{method}: 20 kills, {num_in_a_save} of them in the middle of a save")


def run_command(*arguments: str | Path) -> str:
    """What a command of its own interpreter, which must succeed, writes to standard error."""
    command = [sys.executable, "-W", "error::FutureWarning", "-m", "posttrain.cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_damaged_newest_checkpoint_is_named_and_the_previous_one_used(material: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "run.yaml", config_of(material, "sft", 12))
    run_command("train", config, "--out", tmp_path / "undisturbed")
    run = tmp_path / "run"
    command = Command(tmp_path / "errors", "train", config, "--out", run)
    command.kill_when(lambda: num_lines(run / "metrics.jsonl") >= 8)
    newest = max((run / "checkpoints").glob("step-*"))
    file = newest / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert str(file) in run_command("resume", run)
    assert bits(run) == bits(tmp_path / "undisturbed")
