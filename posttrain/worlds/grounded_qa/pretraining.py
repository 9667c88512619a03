"""Ordinary text of the world: it teaches the words, the sentences and how to copy from a context, not the task.

    repeat   repeat: 1994 Tuton Onyx ...                       the same names, in the same order
    copy     copy: context: ...                                the text of the pages, word for word
    recap    context: ...                                      any sentences of the pages
    restore  restore: Dalune blank 1994. ... context: ...      the same sentences without their gaps
    check    check: context: ...                               sentences, each with its verdict: right, wrong or again
    ask      ask: When did Dalune come out? ... context: ...   one sentence in answer to each question

No prompt begins with `question:` and no question is ambiguous: where something is asked, each title has one page.
"""

import random
from dataclasses import replace

from pydantic import Field

from posttrain.data.records import Demonstration, Prompt
from posttrain.settings import Settings
from posttrain.worlds.grounded_qa.grammar import QUESTIONS, VALUES, Fact, sentence
from posttrain.worlds.grounded_qa.names import MAKERS, PLACES, PRIZES, TITLES, YEARS
from posttrain.worlds.grounded_qa.passages import Scene, context

NAMES = (*TITLES, *YEARS, *MAKERS, *PLACES, *PRIZES)


class Config(Settings):
    """What is no repetition is about a scene: the other shares are of that, and its rest is recaps."""

    repeat_share: float = Field(default=0.15, ge=0, le=1)
    """Every word of a repetition has to be looked up, where a sentence has one such word in six."""
    ask_share: float = Field(default=0.3, ge=0, le=1)
    """How much of the text is single-fact questions, which give the question words their meaning."""
    restore_share: float = Field(default=0.2, ge=0, le=1)
    copy_share: float = Field(default=0.25, ge=0, le=1)
    """Nothing in a copy is a matter of chance, so that it teaches looking things up the soonest."""
    num_first_repetitions: int = Field(default=0, ge=0)
    """The stream begins with so many repetitions: in order (data.should_shuffle: false) they come first."""
    max_names: int = Field(default=30, ge=1)
    """Longest repetition."""
    max_recap_sentences: int = Field(default=10, ge=1)
    max_items: int = Field(default=4, ge=1)
    """Most questions or gapped sentences of one text."""
    check_share: float = Field(default=0.2, ge=0, le=1)
    """Verdicts teach to look back at what was said, and up whether it is so: what a reader of answers has to do."""
    max_checks: int = Field(default=5, ge=1)
    """Most sentences of a check."""
    short_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the texts about one or two pages only: copying is learnt on them first, and sooner."""


def draw_text(rng: random.Random, scene: Scene, id: str, index: int, config: Config) -> Demonstration:
    """Text number `index` of the stream: names, or something about the pages of a scene, whose question is not used."""
    if index < config.num_first_repetitions or rng.random() < config.repeat_share:
        names = " ".join(rng.sample(NAMES, rng.randint(1, config.max_names)))
        return Demonstration(Prompt(text=f"repeat: {names}", id=id), names)
    if rng.random() < config.check_share:
        return Demonstration(
            Prompt(text="check: " + context(scene.pages), id=id), _check(rng, scene, config.max_checks)
        )
    if rng.random() < config.short_share:
        scene = replace(scene, pages=scene.pages[: rng.randint(1, 2)])
    kind = rng.random()
    if kind < config.ask_share:
        scene = _one_page_a_title(scene)
        head, response = _ask(rng, scene, config.max_items)
    elif kind < config.ask_share + config.restore_share:
        head, response = _restore(rng, scene, config.max_items)
    elif kind < config.ask_share + config.restore_share + config.copy_share:
        head, response = "copy: ", " ".join(page.text for page in scene.pages)
    else:
        head, response = "", _recap(rng, scene, config.max_recap_sentences)
    return Demonstration(Prompt(text=head + context(scene.pages), id=id), response)


def _one_page_a_title(scene: Scene) -> Scene:
    pages = {page.facts[0].title: page for page in scene.pages}
    return replace(scene, pages=tuple(pages.values()))


def _ask(rng: random.Random, scene: Scene, max_items: int) -> tuple[str, str]:
    facts = rng.sample(scene.facts, min(len(scene.facts), rng.randint(1, max_items)))
    questions = [rng.choice(QUESTIONS[fact.attribute]).format(fact.title) for fact in facts]
    return f"ask: {' '.join(questions)} ", " ".join(sentence(fact) for fact in facts)


def _check(rng: random.Random, scene: Scene, max_checks: int) -> str:
    """Facts of the pages, some with a value that no page gives, some told twice; each with its verdict."""
    told: list[Fact] = []
    words = []
    for _ in range(rng.randint(1, max_checks)):
        kind = rng.random()
        fact = rng.choice(told) if told and kind < 0.25 else rng.choice(scene.facts)
        if kind > 0.65:
            fact = fact._replace(value=rng.choice(VALUES[fact.attribute]))
        is_again = any(fact.claim == earlier.claim for earlier in told)
        is_right = any(fact.claim == known.claim for known in scene.facts)
        words += [sentence(fact), "again." if is_again else "right." if is_right else "wrong."]
        told.append(fact)
    return " ".join(words)


def _restore(rng: random.Random, scene: Scene, max_items: int) -> tuple[str, str]:
    facts = rng.sample(scene.facts, min(len(scene.facts), rng.randint(1, max_items)))
    whole = [sentence(fact) for fact in facts]
    return f"restore: {' '.join(_gapped(rng, text) for text in whole)} ", " ".join(whole)


def _gapped(rng: random.Random, whole: str) -> str:
    """One to three neighbouring words become `blank`."""
    words = whole.removesuffix(".").split()
    length = rng.randint(1, 3)
    start = rng.randint(0, len(words) - length)
    return " ".join([*words[:start], "blank", *words[start + length :]]) + "."


def _recap(rng: random.Random, scene: Scene, max_sentences: int) -> str:
    """Some facts in any order; a second fact of the same homonym may follow in a sub-sentence."""
    chosen = rng.sample(scene.facts, min(len(scene.facts), rng.randint(1, max_sentences)))
    sentences = []
    for fact in chosen:
        more = [other for other in scene.facts if other[:2] == fact[:2] and other not in chosen]
        is_joined = bool(more) and rng.random() < 0.2
        sentences.append(sentence(fact, rng.choice(more)) if is_joined else sentence(fact))
    return " ".join(sentences)
