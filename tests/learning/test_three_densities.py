"""PPO follows three rewards of three densities at once: of each word, of each sentence, and of the whole answer."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from posttrain import run
from posttrain.config import load
from posttrain.data.jsonl import write_rows
from posttrain.models.loading import load_tokenizer, new_scorer
from posttrain.models.scorer import write_statistics
from posttrain.rewards.sequence_model import SequenceModelReward
from posttrain.rewards.span_model import SpanModelReward
from tests.learning import toys
from tests.tiny_models import ONE_PER_FAMILY

NAMES = ("relevance", "factuality", "completeness")
WEIGHTS = (0.3, 0.5, 1.0)
CLASS = {"name": "bad", "kinds": ["bad"]}


def span_reward_model(folder: Path, name: str, start: str, **settings: Any) -> str:
    """Trained for a few steps on words, of which every second one is marked."""
    rows = [
        {"prompt": f"{good} {bad}", "response": f"{good} {bad}", "errors": [{"start": 3, "end": 5, "kind": "bad"}]}
        for good, bad in zip(toys.GOOD, toys.BAD, strict=True)
    ]
    write_rows(folder / f"{name}.jsonl", [*rows, *({**row, "errors": []} for row in rows)])
    source = {"source": "span_jsonl", "path": str(folder / f"{name}.jsonl")}
    config = {
        "model": {"path": start}, "algorithm": {"name": "span_reward_model", "classes": [dict(CLASS)], **settings},
        "data": {"train": source, "evaluation": dict(source), "max_prompt_tokens": 9, "max_response_tokens": 9},
        "training": {"num_steps": 2, "batch_size": 16, "learning_rate": 0.01},
    }  # fmt: skip
    return str(trained(folder, config, name) / "model")


def sequence_reward_model(folder: Path, start: str) -> str:
    torch.manual_seed(0)
    path = folder / "sequence"
    path.mkdir()
    new_scorer(start, 0.0).save(path)
    load_tokenizer(start).save_pretrained(path)
    write_statistics(path, torch.tensor([-1.0, 1.0]))
    return str(path)


def trained(folder: Path, config: dict[str, Any], name: str) -> Path:
    (folder / f"{name}.yaml").write_text(json.dumps(config | {"num_threads": 1}))
    return run.train(load(folder / f"{name}.yaml"), folder / name)


def ppo_config(folder: Path, start: str) -> dict[str, Any]:
    models = (
        span_reward_model(folder, "words", start, pattern=r"\S+"),
        span_reward_model(folder, "pairs", start, pattern=r"\S+ \S+|\S+", pooling="mean"),
        sequence_reward_model(folder, start),
    )
    write_rows(folder / "prompts.jsonl", [{"prompt": prompt.text} for prompt in toys.prompts(16, seed=0)])
    kinds = ("span_model", "span_model", "sequence_model")
    return {
        "model": {"path": start}, "algorithm": {"name": "ppo"},
        "data": {"train": {"source": "prompt_jsonl", "path": str(folder / "prompts.jsonl")},
                 "max_prompt_tokens": 9, "max_response_tokens": 9},
        "rollout": {"engine": "in_process", "max_new_tokens": 6, "samples_per_prompt": 2},
        "rewards": [
            {"kind": kind, "name": name, "model": model, "weight": weight}
            for kind, name, model, weight in zip(kinds, NAMES, models, WEIGHTS, strict=True)
        ],
        "training": {"num_steps": 3, "batch_size": 8, "minibatch_size": 8, "learning_rate": 0.001, "passes": 2},
    }  # fmt: skip


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_ppo_with_rewards_of_three_densities(name, tmp_path, monkeypatch):
    start = toys.save(toys.start(name), tmp_path / "start")
    streams: dict[str, list] = {each: [] for each in NAMES}

    def kept(original):
        def judge(self, rollout):
            stream = original(self, rollout)
            streams[stream.name].append((rollout, stream))
            return stream

        return judge

    for kind in (SpanModelReward, SequenceModelReward):
        monkeypatch.setattr(kind, "__call__", kept(kind.__call__))
    folder = trained(tmp_path, ppo_config(tmp_path, start), "ppo")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "train/loss" in line]
    assert len(steps) == 3
    for place, line in enumerate(steps):
        means = [float(streams[each][place][1].totals().mean()) for each in NAMES]
        assert [line[f"rollout/reward/{each}"] for each in NAMES] == pytest.approx(means, abs=1e-5)
        total = sum(weight * mean for weight, mean in zip(WEIGHTS, means, strict=True))
        assert line["rollout/reward"] == pytest.approx(total, abs=1e-5)
    for place in range(3):
        check_places(*(streams[each][place] for each in NAMES))


def check_places(words, pairs, whole) -> None:
    """Every word; every second word and the last; the last token, which may be an end token."""
    rollout = words[0]
    ids, mask = rollout.sequences.response_ids, rollout.sequences.response_mask
    said = mask & (ids >= 4)
    for row in range(len(rollout)):
        columns = said[row].nonzero().flatten().tolist()
        assert words[1].mask[row].nonzero().flatten().tolist() == columns
        expected = sorted({*columns[1::2], *columns[-1:]})
        assert pairs[1].mask[row].nonzero().flatten().tolist() == expected
        assert whole[1].mask[row].nonzero().flatten().tolist() == [int(mask[row].sum()) - 1]
