"""A run that is killed with SIGKILL at a random moment and resumed ends with the bits of an undisturbed one."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from posttrain.data.jsonl import write_rows
from posttrain.models.loading import load_tokenizer, new_scorer
from posttrain.models.scorer import write_statistics
from tests.tiny_models import write_model

NUM_STEPS = 12


def _words(rng: random.Random, num: int) -> str:
    return " ".join(rng.choice(("a", "b", "c", "d", "e")) for _ in range(num))


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    """A tiny T5 with dropout, a reward model made from it, and demonstrations."""
    folder = tmp_path_factory.mktemp("material")
    rng = random.Random(0)
    rows = [{"prompt": _words(rng, 4), "response": _words(rng, rng.randint(1, 5))} for _ in range(40)]
    write_rows(folder / "demonstrations.jsonl", rows)
    write_model("t5", folder / "t5", dropout_rate=0.1)
    scorer = new_scorer(str(folder / "t5"), 0.0)
    (folder / "reward").mkdir()
    scorer.save(folder / "reward")
    load_tokenizer(str(folder / "t5")).save_pretrained(folder / "reward")
    import torch

    write_statistics(folder / "reward", torch.tensor([-1.0, 1.0]))
    return folder


def _config(material: Path, algorithm: str) -> dict:
    config = {
        "model": {"path": str(material / "t5")},
        "algorithm": {"name": algorithm},
        "data": {
            "train": {"source": "demonstration_jsonl", "path": str(material / "demonstrations.jsonl")},
            "max_prompt_tokens": 32,
            "max_response_tokens": 16,
        },
        "training": {"num_steps": NUM_STEPS, "batch_size": 8, "minibatch_size": 8, "learning_rate": 0.01},
        "checkpoint": {"every": 3, "keep": 2},
        "num_threads": 1,
    }
    if algorithm == "ppo":
        config["rollout"] = {"engine": "in_process", "max_new_tokens": 8, "samples_per_prompt": 2, "temperature": 0.7}
        config["rewards"] = [{"kind": "sequence_model", "model": str(material / "reward")}]
        config["training"]["passes"] = 2
    return config


def _command(*arguments: str | Path) -> subprocess.Popen:
    command = [sys.executable, "-W", "error::FutureWarning", "-m", "posttrain.cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _finished(process: subprocess.Popen) -> None:
    errors = process.communicate(timeout=240)[1]
    assert process.returncode == 0, errors


def _bits(run: Path) -> tuple[str, bytes]:
    """Hash of the weights of the trained model and of its optimiser, and the log."""
    newest = max((run / "checkpoints").glob("step-*"))
    files = [run / "model" / "model.safetensors", newest / "model.safetensors", newest / "optimizer.safetensors"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return digest, (run / "metrics.jsonl").read_bytes()


def _kill_when_logged(process: subprocess.Popen, metrics: Path, num_lines: int) -> None:
    """SIGKILL as soon as the log has so many lines: somewhere in the step, or in the save, that follows them."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= num_lines:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"


@pytest.mark.parametrize("algorithm", ["sft", "ppo"])
def test_killed_and_resumed_equals_undisturbed(material: Path, tmp_path: Path, algorithm: str) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(_config(material, algorithm)))
    _finished(_command("train", config, "--out", tmp_path / "undisturbed"))

    killed = tmp_path / "killed"
    process = _command("train", config, "--out", killed)
    kills = sorted(random.Random(algorithm).sample(range(2, NUM_STEPS - 1), 2))
    for num_lines in kills:
        _kill_when_logged(process, killed / "metrics.jsonl", num_lines)
        process = _command("resume", killed)
    _finished(process)

    assert _bits(killed) == _bits(tmp_path / "undisturbed")
    assert len((killed / "metrics.jsonl").read_text().splitlines()) == NUM_STEPS
    assert json.loads((killed / "status.json").read_text())["state"] == "done"
    before = _bits(killed)
    _finished(_command("resume", killed))
    assert _bits(killed) == before, "resuming a finished run changes nothing"


def test_damaged_newest_checkpoint_is_named_and_the_previous_one_used(material: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(_config(material, "sft")))
    _finished(_command("train", config, "--out", tmp_path / "undisturbed"))
    run = tmp_path / "run"
    process = _command("train", config, "--out", run)
    _kill_when_logged(process, run / "metrics.jsonl", 8)
    newest = max((run / "checkpoints").glob("step-*"))
    file = newest / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    process = _command("resume", run)
    errors = process.communicate(timeout=240)[1]
    assert process.returncode == 0, errors
    assert str(file) in errors
    assert _bits(run) == _bits(tmp_path / "undisturbed")
