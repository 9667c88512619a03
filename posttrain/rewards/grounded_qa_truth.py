"""The true reward of the controlled task (worlds/grounded_qa), whole or in its parts, at the density of each part.

completeness   share of the needed facts that are stated, for the whole answer
factuality     -1/n for each of the n sentences that says what the passages do not say
relevance      -1/n for each of the n sub-sentences that is irrelevant, redundant or no sentence
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field

from posttrain.batches import RewardStream, Rollout
from posttrain.data.records import Prompt
from posttrain.data.segments import Span
from posttrain.data.text_columns import TextColumns
from posttrain.models.loading import Tokenizer
from posttrain.rewards.placing import Judged, judged, written_each
from posttrain.settings import Settings
from posttrain.worlds.grounded_qa.truth import JudgedSpan, judge

Part = Literal["all", "completeness", "factuality", "relevance"]


class Config(Settings):
    part: Part = Field("all", description="the sum of the three, or one of them")
    density: Literal["own", "whole"] = Field(
        "own", description="each judgement at the end of its span, or their sum at the end of the answer"
    )


def build(config: Config, name: str, tokenizer: Tokenizer, device: torch.device) -> "GroundedQATruth":
    return GroundedQATruth(config, name, TextColumns(tokenizer))


@dataclass
class GroundedQATruth:
    config: Config
    name: str
    columns: TextColumns

    def __call__(self, rollout: Rollout) -> RewardStream:
        return written_each(self.name, rollout, self.columns, self.config.density, self._judged)

    def _judged(self, prompt: Prompt, text: str, ends: list[int]) -> list[Judged]:
        truth, part = judge(prompt, text), self.config.part
        found = [Judged(0, len(ends) - 1, truth.completeness)] if part in ("all", "completeness") else []
        if part in ("all", "factuality"):
            found += judged(_valued(truth.factuality), ends)
        if part in ("all", "relevance"):
            found += judged(_valued(truth.relevance), ends)
        return found


def _valued(spans: tuple[JudgedSpan, ...]) -> list[tuple[Span, float]]:
    """What is good is judged too, with 0."""
    return [((span.start, span.end), -1.0 / len(spans) if span.error is not None else 0.0) for span in spans]
