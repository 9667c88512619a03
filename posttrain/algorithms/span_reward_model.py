"""A reward model of spans: each sentence or sub-sentence is good, or has an error of a class.

Source: Wu et al. 2023, arXiv:2306.01693, section 3.1: relevance at sub-sentences, factuality at sentences.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from posttrain.batches import JudgedSpans
from posttrain.data.span_labels import SpanSettings
from posttrain.interfaces import LossReport, Parts

CONSUMES = "span_judgements"


class Config(SpanSettings):
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: rare classes count as much as frequent ones, N / (C n_c) a span"
    )


def build(config: Config, parts: Parts) -> "SpanRewardModel":
    return SpanRewardModel(config, parts.span_scorer(SpanSettings(**config.model_dump(exclude={"class_weights"}))))


@dataclass
class SpanRewardModel:
    config: Config
    module: nn.Module

    def loss(self, batch: JudgedSpans) -> LossReport:
        """−Σ w_c log p(c | span) / Σ w_c over the spans of the batch."""
        is_end = batch.label >= 0
        logits = self.module(batch.sequences, batch.first, is_end)
        label, weight = batch.label[is_end], batch.weight[is_end]
        lost = weight * F.cross_entropy(logits, label, reduction="none")
        sums, counts = class_metrics(logits.detach().argmax(-1), label, self.config.names)
        return LossReport(lost.sum(), weight.sum(), sums, counts)


def class_metrics(
    found: Int[Tensor, "N"], label: Int[Tensor, "N"], names: tuple[str, ...]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Sums and counts whose ratios are accuracy and each class's precision, recall and F1, 2 tp / (2 tp + fp + fn)."""
    sums: dict[str, Float[Tensor, ""]] = {"accuracy": (found == label).float().sum()}
    counts: dict[str, Float[Tensor, ""]] = {"accuracy": torch.ones_like(label).float().sum()}
    for number, name in enumerate(names):
        is_found, is_so = found == number, label == number
        right = (is_found & is_so).float().sum()
        num_found, num_so = is_found.float().sum(), is_so.float().sum()
        sums |= {f"precision/{name}": right, f"recall/{name}": right, f"f1/{name}": 2 * right}
        counts |= {f"precision/{name}": num_found, f"recall/{name}": num_so, f"f1/{name}": num_found + num_so}
    return sums, counts
