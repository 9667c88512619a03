"""What simulated annotators know: the true reward of each response they are shown, found by the texts on the page."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.annotation.passages import Reading, reading_of
from posttrain.annotation.records import Item
from posttrain.annotation.simulated.client import Asked
from posttrain.data.fields import as_list, items, text
from posttrain.data.jsonl import read_rows
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.worlds.grounded_qa.truth import gold

Place = tuple[str, str, str]


@dataclass(frozen=True)
class Truth:
    """Rewards by prompt as shown, passages and response; and the prompts of a world, whose spans are known too."""

    rewards: Mapping[Place, float]
    prompts: Mapping[tuple[str, str], Prompt]

    def of(self, asked: Asked) -> list[float]:
        """In the order shown. InputError if a response is not known."""
        place = _place(asked.prompt, asked.passages)
        try:
            return [self.rewards[*place, response] for response in asked.responses]
        except KeyError as error:
            raise InputError(
                f"the task about {asked.prompt[:60]!r} has a response without a known reward; give --scores for all"
            ) from error

    def prompt_of(self, asked: Asked) -> Prompt:
        return self.prompts[_place(asked.prompt, asked.passages)]


def of_items(found: Iterable[Item]) -> Truth:
    """Of a world's items. InputError for a prompt that is from no world."""
    rewards, prompts = {}, {}
    for item in found:
        place = _place_of(reading_of(item.prompt))
        prompts[place] = item.prompt
        for response in item.responses:
            rewards[*place, response.text] = gold(item.prompt, response.text)
    return Truth(rewards, prompts)


def of_scores(path: Path) -> Truth:
    """Of the file that `posttrain score` writes: rows with `prompt`, `responses` and `scores`."""
    rewards, prompts = {}, {}
    for where, row in read_rows(path):
        prompt = Prompt(text(row, where, "prompt"))
        place = _place_of(reading_of(prompt))
        prompts[place] = prompt
        responses, scores = items(row, where, "responses"), as_list(row.get("scores"), where, "scores")
        if len(responses) != len(scores) or not all(isinstance(score, int | float) for score in scores):
            raise where.fault("`scores` should hold one number for each of `responses`, as `posttrain score` writes it")
        for response, score in zip(responses, scores, strict=True):
            rewards[*place, response] = float(score)
    return Truth(rewards, prompts)


def _place_of(reading: Reading) -> tuple[str, str]:
    return _place(reading.text, [(passage.title, *passage.sentences) for passage in reading.passages])


def _place(prompt: str, passages: Any) -> tuple[str, str]:
    return prompt, json.dumps([list(passage) for passage in passages])
