"""Whether a response is one of the prompt's references, or contains one: for questions that have one right answer.

Words are compared, so that it does not matter how much white space is between them.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field

from posttrain.batches import RewardStream, Rollout
from posttrain.data.records import Prompt
from posttrain.data.segments import Span, words
from posttrain.data.text_columns import TextColumns
from posttrain.errors import InputError
from posttrain.models.loading import Tokenizer
from posttrain.rewards.placing import Judged, judged, written_each
from posttrain.settings import Settings

Ignored = Literal["case", "punctuation", "articles"]
ARTICLES = frozenset(("a", "an", "the"))


class Config(Settings):
    match: Literal["equal", "contains"] = Field(
        "equal", description="1 if the words are those of a reference, or if those of one stand in it in a row; else 0"
    )
    ignores: tuple[Ignored, ...] = Field((), description="what is left out of both before they are compared")
    density: Literal["whole", "sentence", "sub_sentence", "own"] = Field(
        "whole",
        description="where it is paid: at the end of the answer, of the part where the reference ends, or of the "
        "reference itself",
    )


def build(config: Config, name: str, tokenizer: Tokenizer, device: torch.device) -> "ExactMatchReward":
    return ExactMatchReward(config, name, TextColumns(tokenizer))


@dataclass
class ExactMatchReward:
    config: Config
    name: str
    columns: TextColumns

    def __call__(self, rollout: Rollout) -> RewardStream:
        return written_each(self.name, rollout, self.columns, self.config.density, self._judged)

    def _judged(self, prompt: Prompt, text: str, ends: list[int]) -> list[Judged]:
        said = self._words(text)
        references = [[word for word, _ in self._words(reference)] for reference in self._references(prompt)]
        if self.config.match == "equal":
            return [Judged(0, len(ends) - 1, float([word for word, _ in said] in references))]
        found = [span for span in (self._place(said, reference, prompt) for reference in references) if span]
        if not found:
            return [Judged(0, len(ends) - 1, 0.0)]
        return judged([(min(found, key=lambda span: span[1]), 1.0)], ends)

    def _place(self, said: Sequence[tuple[str, Span]], reference: Sequence[str], prompt: Prompt) -> Span | None:
        """The characters that say the reference; of several places the first."""
        size = len(reference)
        if size == 0:
            raise InputError(
                f"rewards.{self.name}: prompt {_shown(prompt)} has a reference without words, which every answer "
                "contains; mend the reference, or let `ignores` leave some of it"
            )
        for start in range(len(said) - size + 1):
            taken = said[start : start + size]
            if [word for word, _ in taken] == reference:
                return taken[0][1][0], taken[-1][1][1]
        return None

    def _words(self, text: str) -> list[tuple[str, Span]]:
        found = ((self._bare(text[start:end]), (start, end)) for start, end in words(text))
        return [(word, span) for word, span in found if word]

    def _bare(self, word: str) -> str:
        """A word without what is ignored; nothing where it is all ignored."""
        ignores = self.config.ignores
        if "case" in ignores:
            word = word.casefold()
        if "punctuation" in ignores:
            word = "".join(letter for letter in word if not unicodedata.category(letter).startswith("P"))
        return "" if "articles" in ignores and word.lower() in ARTICLES else word

    def _references(self, prompt: Prompt) -> tuple[str, ...]:
        if not prompt.references:
            raise InputError(
                f"rewards.{self.name}: prompt {_shown(prompt)} has no references, and exact_match "
                "compares with one; take data with references, or leave this reward out"
            )
        return prompt.references


def _shown(prompt: Prompt) -> str:
    return repr(prompt.id or prompt.text[:60])
