"""Minus the share of n-grams of a response that it has used before, or each of them where it is completed.

reward = −(n-grams that came before / n-grams): the measure `repetition`, as a cost.
Source: Welleck et al. 2020, arXiv:1908.04319, section 6, seq-rep-n.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field

from posttrain.batches import RewardStream, Rollout
from posttrain.data.segments import words
from posttrain.data.text_columns import TextColumns
from posttrain.functional.response_statistics import repeats
from posttrain.models.loading import Tokenizer
from posttrain.rewards.placing import Judged, judged, reads_text, written
from posttrain.settings import Settings


class Config(Settings):
    unit: Literal["word", "token"] = Field("word", description="what n-grams are made of; the case of words is ignored")
    ngram_size: int = Field(3, ge=1, description="units of an n-gram")
    density: Literal["whole", "sentence", "sub_sentence", "token"] = Field(
        "whole", description="where it is paid: at the end of the answer or of each part, or where each n-gram ends"
    )


def build(config: Config, name: str, tokenizer: Tokenizer, device: torch.device) -> "RepetitionReward":
    return RepetitionReward(config, name, TextColumns(tokenizer))


@dataclass
class RepetitionReward:
    config: Config
    name: str
    columns: TextColumns

    def __call__(self, rollout: Rollout) -> RewardStream:
        sequences, ends = rollout.sequences, None
        if self.config.unit == "word" or reads_text(self.config.density):
            ends = self.columns.ends_of(rollout)
        if self.config.unit == "word":
            assert ends is not None
            found = [self._of_words(text, own) for text, own in zip(rollout.texts, ends, strict=True)]
        else:
            rows = zip(sequences.response_ids, sequences.response_mask, strict=True)
            found = [self._of_tokens(ids[mask].tolist()) for ids, mask in rows]
        return written(self.name, rollout, found, self.config.density, ends)

    def _of_words(self, text: str, ends: list[int]) -> list[Judged]:
        spans, size = words(text), self.config.ngram_size
        costs = self._costs(repeats([text[start:end].lower() for start, end in spans], size))
        grams = [(spans[i][0], spans[i + size - 1][1]) for i in range(len(costs))]
        return judged(zip(grams, costs, strict=True), ends)

    def _of_tokens(self, ids: list[int]) -> list[Judged]:
        size = self.config.ngram_size
        return [Judged(i, i + size - 1, cost) for i, cost in enumerate(self._costs(repeats(ids, size)))]

    @staticmethod
    def _costs(is_repeated: list[bool]) -> list[float]:
        return [-float(it) / len(is_repeated) for it in is_repeated]
