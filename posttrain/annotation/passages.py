"""A prompt as a person reads it: its question, and its passages in sentences that evidence can point to."""

import re
from dataclasses import dataclass
from typing import Any

from posttrain.data.records import Prompt

_QUESTION = re.compile(r"question: (?P<question>.*?) context: wikipage: (?P<context>.*)", re.DOTALL)
_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s)|$)", re.DOTALL)


@dataclass(frozen=True)
class Passage:
    title: str
    sentences: tuple[str, ...]  # counted from 0, the title not among them


@dataclass(frozen=True)
class Reading:
    """`text` is the whole prompt where it has no passages, else its question."""

    text: str
    passages: tuple[Passage, ...] = ()


def reading_of(prompt: Prompt) -> Reading:
    """QA-Feedback's form, "question: Q context: wikipage: TITLE text: TEXT | wikipage: ...", taken apart.

    Its files give the sentences of the passages; where they are not given, a sentence ends at . ! or ? and a blank.
    """
    match = _QUESTION.fullmatch(prompt.text)
    if match is None:
        return Reading(prompt.text)
    given = _given(prompt.facts.get("passages"))
    if given is None:
        given = tuple(_passage(part) for part in match["context"].split(" | wikipage: "))
    return Reading(match["question"], given)


def _given(passages: Any) -> tuple[Passage, ...] | None:
    """[[title, sentence, ...], ...] as feedback files have it."""
    is_lists = isinstance(passages, list) and all(
        isinstance(passage, list) and passage and all(isinstance(part, str) for part in passage) for passage in passages
    )
    return tuple(Passage(passage[0], tuple(passage[1:])) for passage in passages) if is_lists and passages else None


def _passage(text: str) -> Passage:
    title, _, content = text.partition(" text: ")
    return Passage(title, tuple(match.group() for match in _SENTENCE.finditer(content)))
