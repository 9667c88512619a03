"""Transformers at its best: a plain loop without any trainer, padded batches, and the head at responses only.

It is what an experienced user would write: no logits of prompts, rows of like length side by side where their order is
free, references scored beforehand, a fused optimiser.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.meter import MODELS, WARMUP, Meter
from benchmarks.shapes import PAD, folder
from benchmarks.training import LEARNING_RATE

Row = tuple[list[int], list[int]]
"""Tokens of a prompt and of a response."""


def load(arguments: argparse.Namespace) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder(arguments.shape, MODELS))


def token_logprobs(model: PreTrainedModel, rows: Sequence[Row], temperature: float = 1.0) -> Tensor:
    """log π of all response tokens, one row behind the other."""
    texts = [prompt + response for prompt, response in rows]
    longest = max(map(len, texts))
    ids = torch.tensor([text + [PAD] * (longest - len(text)) for text in texts])
    mask = torch.arange(longest) < torch.tensor([[len(text)] for text in texts])
    hidden = model.base_model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state
    places = [(number, len(p) - 1 + t) for number, (p, r) in enumerate(rows) for t in range(len(r))]
    number, column = torch.tensor(places).unbind(1)
    logits = model.get_output_embeddings()(hidden[number, column]) / temperature
    return -F.cross_entropy(logits, ids[number, column + 1], reduction="none")


def sums(logprobs: Tensor, rows: Sequence[Row]) -> Tensor:
    return torch.stack([row.sum() for row in logprobs.split([len(response) for _, response in rows])])


def train(
    arguments: argparse.Namespace, model: PreTrainedModel, batches: Sequence[Any], loss: Callable[[Any], Tensor],
    unit: str, units: Sequence[float],
) -> Mapping[str, Any]:  # fmt: skip
    """A step on each batch; `units` are those of each."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    meter = Meter(unit)
    meter.start()
    for number, batch in enumerate(batches):
        with meter.timed() as counted:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.dtype == "bfloat16"):
                value = loss(batch)
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            counted.append(units[number])
    return meter.result()


def in_batches(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def by_length(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    """Batches of rows of like length, the first (uncounted) ones of middling length."""
    batches = in_batches(sorted(rows, key=lambda row: len(row[0]) + len(row[1])), size)
    middle = len(batches) // 2
    return [*batches[middle : middle + WARMUP], *batches[:middle], *batches[middle + WARMUP :]]
