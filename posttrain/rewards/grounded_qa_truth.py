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
from posttrain.data.text_columns import TextColumns, columns_of
from posttrain.functional.reward_streams import last_true
from posttrain.models.loading import Tokenizer
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
        values = torch.zeros_like(rollout.logprobs)
        mask = torch.zeros_like(rollout.sequences.action_mask)
        lasts = last_true(rollout.sequences.action_mask).tolist()
        rows = zip(rollout.examples, rollout.texts, self.columns.ends_of(rollout), lasts, strict=True)
        for row, (prompt, text, ends, last) in enumerate(rows):
            truth = judge(prompt, text)
            found: list[tuple[int, float]] = []
            if self.config.part in ("all", "completeness"):
                found.append((last, truth.completeness))
            if self.config.part in ("all", "factuality"):
                found += _placed(truth.factuality, ends)
            if self.config.part in ("all", "relevance"):
                found += _placed(truth.relevance, ends)
            if self.config.density == "whole":
                found = [(last, sum(value for _, value in found))]
            for column, value in found:
                values[row, column] += value
                mask[row, column] = True
        return RewardStream(self.name, values, mask)


def _placed(spans: tuple[JudgedSpan, ...], ends: list[int]) -> list[tuple[int, float]]:
    """(column, value) of each judgement: what is good is judged too, with 0."""
    found = []
    for span in spans:
        columns = columns_of((span.start, span.end), ends)
        assert columns is not None, "tokens show the whole of their text"
        found.append((columns[1], -1.0 / len(spans) if span.error is not None else 0.0))
    return found
