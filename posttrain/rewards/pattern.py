"""What a regular expression finds in a response: a format to keep, or something to say often or never."""

import re
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, field_validator

from posttrain.batches import RewardStream, Rollout
from posttrain.data.records import Prompt
from posttrain.data.text_columns import TextColumns
from posttrain.models.loading import Tokenizer
from posttrain.rewards.placing import Judged, judged, written_each
from posttrain.settings import Settings


class Config(Settings):
    pattern: str = Field(description="a regular expression of Python's re; (?s), (?i) and so on go at its beginning")
    gives: Literal["found", "all", "count"] = Field(
        "found",
        description="1 if the answer has a match; 1 if the whole answer is one, a format; or the number of matches",
    )
    density: Literal["whole", "sentence", "sub_sentence", "own"] = Field(
        "whole", description="where it is paid: at the end of the answer, of the part where a match ends, or of a match"
    )

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression ({error}); see Python's re module") from error
        return pattern


def build(config: Config, name: str, tokenizer: Tokenizer, device: torch.device) -> "PatternReward":
    return PatternReward(config, name, TextColumns(tokenizer))


@dataclass
class PatternReward:
    config: Config
    name: str
    columns: TextColumns

    def __post_init__(self) -> None:
        self._expression = re.compile(self.config.pattern)

    def __call__(self, rollout: Rollout) -> RewardStream:
        return written_each(self.name, rollout, self.columns, self.config.density, self._judged)

    def _judged(self, prompt: Prompt, text: str, ends: list[int]) -> list[Judged]:
        whole = (0, len(ends) - 1)
        if self.config.gives == "all":
            return [Judged(*whole, float(self._expression.fullmatch(text) is not None))]
        if self.config.gives == "count":
            spans = [match.span() for match in self._expression.finditer(text) if match.group()]
        else:
            match = self._expression.search(text)  # which may find no character, but a place
            spans = [match.span()] if match else []
        return judged(((span, 1.0) for span in spans), ends) or [Judged(*whole, 0.0)]
