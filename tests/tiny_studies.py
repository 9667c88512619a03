"""What small sweeps and small rounds share: a few thousand weights, runs of a step or two, and a count of the runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posttrain import run

LIMITS = "max_prompt_tokens: 64, max_response_tokens: 128"
COMPARISONS = "source: preference_jsonl, path: preferences"
FIRST = f"""\
base:
  model:
    architecture: {{model_type: llama, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1,
      num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: 256}}
    tokenizer: {{vocab_size: 400}}
  algorithm: {{name: sft}}
  data: {{train: {{source: reviews, split: pretraining, num: 64}},
    {LIMITS}}}
  training: {{num_steps: 20, batch_size: 16, learning_rate: 0.02}}
sft:
  model: {{path: base/model}}
  algorithm: {{name: sft}}
  data: {{train: {{source: reviews, split: demonstrations, num: 16}},
    {LIMITS}}}
  training: {{num_steps: 2, batch_size: 8, learning_rate: 0.001}}
"""
REWARD_MODEL = f"""\
reward_model:
  model: {{path: sft/model}}
  algorithm: {{name: preference_reward_model}}
  data: {{train: {{{COMPARISONS}/train.jsonl, should_allow_empty: true}},
    evaluation: {{{COMPARISONS}/evaluation.jsonl, should_allow_empty: true}},
    {LIMITS}}}
  training: {{num_steps: 2, batch_size: 4, learning_rate: 0.001}}
"""


def write(path: Path, text: str, *replaced: tuple[str, str]) -> Path:
    """The file, with some of its text in place of other."""
    for old, new in replaced:
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")
    return path


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the run folders that `run.train` and `run.resume` are asked for from now on."""
    asked: list[str] = []

    def counting(word: str, original: Callable[..., Path]) -> Callable[..., Path]:
        def call(*arguments: Any) -> Path:
            asked.append(f"{word} {arguments[-1].name.rpartition('-')[0]}")
            return original(*arguments)

        return call

    monkeypatch.setattr(run, "train", counting("train", run.train))
    monkeypatch.setattr(run, "resume", counting("resume", run.resume))
    return asked
