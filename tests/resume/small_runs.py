"""Runs of every method that take seconds, in processes that a test can kill."""

import hashlib
import json
import multiprocessing
import os
import pkgutil
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from posttrain.data.jsonl import write_rows
from posttrain.models.loading import load_tokenizer, new_scorer
from posttrain.models.scorer import write_statistics
from tests.tiny_models import write_model

METHODS = (
    "sft", "sft_decoder_only", "preference_reward_model", "span_reward_model", "reinforce", "reinforce_lora", "ppo",
    "ppo_adaptive", "dpo",
)  # fmt: skip
PATIENCE = 240.0  # seconds that a loaded machine may take for a run

# A forked child of a server that has the imports behind it: a start costs a second instead of ten.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    ["posttrain.run", *(f"transformers.models.{name}.modeling_{name}" for name in ("t5", "llama", "gpt2"))]
)


def _words(rng: random.Random, num: int) -> str:
    return " ".join(rng.choice(("aa", "be", "ci", "do", "eu")) for _ in range(num))


def _marked(rng: random.Random) -> list[dict[str, Any]]:
    """Responses of four words; a word that begins with e is bad, and counts as one of two kinds of errors."""
    rows = []
    for i in range(40):
        response = _words(rng, 4)
        errors = [
            {"start": 3 * place, "end": 3 * place + 2, "kind": ("wrong", "vague")[(i + place) % 2]}
            for place, word in enumerate(response.split())
            if word == "eu"
        ]
        rows.append({"prompt": _words(rng, 3), "response": response, "errors": errors})
    return rows


def write_material(folder: Path) -> Path:
    """Tiny models, with dropout where training uses it; a reward model made from one; demonstrations, comparisons."""
    rng = random.Random(0)
    demonstrations = [{"prompt": _words(rng, 4), "response": _words(rng, rng.randint(1, 5))} for _ in range(40)]
    write_rows(folder / "demonstrations.jsonl", demonstrations)
    pairs = [{"prompt": _words(rng, 3), "chosen": _words(rng, 4), "rejected": _words(rng, 2)} for _ in range(40)]
    write_rows(folder / "pairs.jsonl", pairs)
    write_rows(folder / "spans.jsonl", _marked(random.Random(1)))
    write_model("t5", folder / "t5", dropout_rate=0.1)
    write_model("gpt2", folder / "gpt2", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    write_model("llama", folder / "llama")
    torch.manual_seed(0)  # of the head
    scorer = new_scorer(str(folder / "t5"), 0.0)
    (folder / "reward").mkdir()
    scorer.save(folder / "reward")
    load_tokenizer(str(folder / "t5")).save_pretrained(folder / "reward")
    write_statistics(folder / "reward", torch.tensor([-1.0, 1.0]))
    return folder


def config_of(material: Path, method: str, num_steps: int) -> dict[str, Any]:
    is_pairwise = method in ("preference_reward_model", "dpo")
    model = {"sft_decoder_only": "gpt2", "dpo": "llama"}.get(method, "t5")
    kind, file = ("preference", "pairs") if is_pairwise else ("demonstration", "demonstrations")
    if method == "span_reward_model":
        kind, file = "span", "spans"
    data = {"source": f"{kind}_jsonl", "path": str(material / f"{file}.jsonl")}
    config: dict[str, Any] = {
        "model": {"path": str(material / model)},
        "algorithm": {
            "name": "sft" if method == "sft_decoder_only" else method.split("_lora")[0].split("_adaptive")[0]
        },
        "data": {"train": data, "max_prompt_tokens": 32, "max_response_tokens": 16},
        "training": {"num_steps": num_steps, "batch_size": 8, "minibatch_size": 8, "learning_rate": 0.01},
        "checkpoint": {"every": 3, "keep": 2},
        "num_threads": 1,
    }
    if is_pairwise:
        config["data"]["evaluation"] = dict(data)
        config["training"]["minibatch_size"] = 4
    if method == "span_reward_model":  # whose weights of classes have to be saved
        classes = [{"name": name, "kinds": [name], "value": -1.0 - i} for i, name in enumerate(("wrong", "vague"))]
        config["algorithm"] |= {"pattern": r"\w+", "classes": classes, "class_weights": "balanced", "pooling": "mean"}
        config["data"]["evaluation"] = dict(data)
    if method.startswith("reinforce"):
        config["algorithm"]["baseline"] = "running_mean"  # which has to be saved
    if method == "reinforce_lora":
        config["model"]["lora"] = {"rank": 2}
    if method == "ppo_adaptive":  # weights that have to be saved, and an order of other records
        config["algorithm"] |= {"kl_target": 0.5, "kl_horizon": 100, "objective": "kl_penalty"}
        config["pretraining"] = {"data": dict(data), "weight": 0.5, "batch_size": 3}
    if method == "dpo":
        config["model"]["compute_dtype"] = "bfloat16"
    if method.startswith(("reinforce", "ppo")):
        config["rollout"] = {"engine": "in_process", "max_new_tokens": 8, "samples_per_prompt": 2, "temperature": 0.7}
        config["rewards"] = [{"kind": "sequence_model", "model": str(material / "reward")}]
        if method.startswith("reinforce"):
            del config["training"]["minibatch_size"]  # a batch is one step of it
        else:
            config["training"]["passes"] = 2
    return config


def write_config(path: Path, config: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(config))
    return path


class Command:
    """`posttrain ...` in a process of its own; `die_at` kills it at the nth call of a function, before the call."""

    def __init__(self, errors: Path, *arguments: str | Path, die_at: tuple[str, int] | None = None):
        self._errors = errors
        self._process = _PROCESSES.Process(target=_main, args=([str(word) for word in arguments], errors, die_at))
        self._process.start()

    def finish(self) -> tuple[int, str]:
        """Exit code and what was written to standard error."""
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, "it did not end"
        return self._process.exitcode, self._errors.read_text()

    def kill_when(self, is_time: Callable[[], bool], delay: float = 0.0) -> None:
        """SIGKILL so many seconds after `is_time` is true for the first time."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.is_alive() and not is_time():
            time.sleep(0.002)
        time.sleep(delay)
        self._process.kill()
        code, errors = self.finish()
        assert code == -signal.SIGKILL, f"it ended before it could be killed: {errors}"


def _main(arguments: list[str], errors: Path, die_at: tuple[str, int] | None) -> None:
    from posttrain import cli

    warnings.simplefilter("error", FutureWarning)
    sys.stderr = errors.open("w", buffering=1)
    if die_at is not None:
        _arrange_death(*die_at)
    sys.exit(cli.main(arguments))


def _arrange_death(name: str, nth_call: int) -> None:
    owner_name, _, attribute = name.rpartition(".")
    owner = pkgutil.resolve_name(owner_name)
    function = getattr(owner, attribute)
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth_call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)

    setattr(owner, attribute, call)


def num_lines(metrics: Path) -> int:
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def bits(run: Path) -> tuple[str, bytes]:
    """Hash of the weights of the trained model and of its optimiser, and the log."""
    newest = max((run / "checkpoints").glob("step-*"))
    files = [run / "model" / "model.safetensors", newest / "model.safetensors", newest / "optimizer.safetensors"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return digest, (run / "metrics.jsonl").read_bytes()


def trained_steps(run: Path) -> list[int]:
    """The step of each line of the log that training wrote."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if "train/loss" in line]


def status_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())
