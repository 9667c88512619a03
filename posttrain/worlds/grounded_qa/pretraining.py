"""Ordinary text of the world: it teaches the words, the sentences and how to copy from a context, not the task.

    repeat   repeat: 1994 Tuton Onyx ...                       the same names, in the same order
    look     look: 1994 Tuton Onyx ...                         names, each with what stands behind it, end or wrong
    find     find: 1994 Tuton Onyx ... | find: context: ...    names, each with its verdict: right, wrong or again
    copy     copy: context: ...                                the text of the pages, word for word
    recap    context: ...                                      any sentences of the pages
    restore  restore: Dalune blank 1994. ... context: ...      the same sentences without their gaps
    check    check: context: ...                               sentences, each with its verdict: right, wrong or again
    count    context: ...                                      sentences, and how many of them are right, wrong, again
    ask      ask: When did Dalune come out? ... context: ...   one sentence in answer to each question
    collect  collect: When did each come out? context: ...     every sentence of the pages that answers it

No prompt begins with `question:` and no question is ambiguous: where something is asked, each title has one page.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from posttrain.data.records import Demonstration, Prompt
from posttrain.settings import Settings
from posttrain.worlds.grounded_qa.grammar import QUESTIONS, VALUES, Fact, sentence
from posttrain.worlds.grounded_qa.names import MAKERS, PLACES, PRIZES, TITLES, YEARS
from posttrain.worlds.grounded_qa.passages import Scene, context

NAMES = (*TITLES, *YEARS, *MAKERS, *PLACES, *PRIZES)
VERDICTS = ("right", "wrong", "again")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

ONE_ANSWER = ("repeat:", "copy:", "ask:", "collect:")
"""Nothing in the response to these is left to chance: it is the prompt's reference, for measures like exact_match."""


class Lesson(Settings):
    """`num` texts of these kinds by turns; `names` draws one of the others by the shares."""

    kinds: tuple[Literal["repeat", "look", "find", "names"], ...] = Field(min_length=1)
    num: int = Field(ge=1)


class Config(Settings):
    """What is no text of names is about a scene: the other shares are of that, and its rest is recaps."""

    first: tuple[Lesson, ...] = ()
    """The stream begins with these: in order (data.should_shuffle: false) they come first. In texts of names every word
    is to be looked up, so that copying and recognising are learnt in hundreds of steps instead of thousands."""
    is_chance_given: bool = False
    """In look, find and check, which name or sentence comes next is a matter of chance. It is given then, so that the
    model reads it and learns what to say to it, and the verdict follows without a full stop."""
    names_share: float = Field(default=0.15, ge=0, le=1)
    """Texts of names after those: each of their words is to be looked up, where a sentence has one in six."""
    find_share: float = Field(default=0.5, ge=0, le=1)
    """Of the texts of names: whether a name was read or said before is what every verdict on a sentence rests on."""
    look_share: float = Field(default=0.0, ge=0, le=1)
    """Of the texts of names: the answer is one of 86 words, so that it teaches more than a verdict."""
    max_names: int = Field(default=20, ge=2)
    """Longest list of names, and twice the most names that are then said to be found or looked up."""
    check_share: float = Field(default=0.2, ge=0, le=1)
    """Verdicts teach to look back at what was said, and up whether it is so: what a reader of answers has to do."""
    count_share: float = Field(default=0.15, ge=0, le=1)
    """A count needs the same, but nobody says before the end that it will be asked for."""
    page_find_share: float = Field(default=0.0, ge=0, le=1)
    """Names of the pages to be found."""
    max_checks: int = Field(default=6, ge=1, le=len(NUMBERS) - 1)
    """Most sentences of a check or count."""
    ask_share: float = Field(default=0.3, ge=0, le=1)
    """How much of the rest is single-fact questions, which give the question words their meaning."""
    restore_share: float = Field(default=0.2, ge=0, le=1)
    copy_share: float = Field(default=0.25, ge=0, le=1)
    """Nothing in a copy is a matter of chance, so that it teaches looking things up the soonest."""
    collect_share: float = Field(default=0.0, ge=0, le=1)
    """Ends when nothing is left to say, which a writer of whole answers, and a reader of them, has to know."""
    max_recap_sentences: int = Field(default=10, ge=1)
    max_items: int = Field(default=4, ge=1)
    """Most questions or gapped sentences of one text."""
    short_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the rest that is about one or two pages only: copying is learnt on them first, and sooner."""

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        for names in (
            ("find_share", "look_share"),
            ("check_share", "count_share", "page_find_share"),
            ("ask_share", "restore_share", "copy_share", "collect_share"),
        ):
            total = sum(getattr(self, name) for name in names)
            if total > 1 + 1e-9:
                raise ValueError(f"{' + '.join(names)} is {total:g}; they share one whole, so it can be 1 at most")
        return self


Text = tuple[str, str, tuple[tuple[int, int], ...]]
"""Prompt, response, and what is given of it."""


def draw_text(rng: random.Random, scene: Scene, id: str, index: int, config: Config) -> Demonstration:
    """Text number `index` of the stream: names, or something about the pages of a scene, whose question is not used."""
    lesson = _lesson(index, config.first)
    if lesson or rng.random() < config.names_share:
        prompt, response, given = _of_names(rng, lesson or "names", config)
    else:
        prompt, response, given = _about(rng, scene, config)
    references = (response,) if prompt.startswith(ONE_ANSWER) else ()
    return Demonstration(Prompt(text=prompt, id=id, references=references), response, given)


def _lesson(index: int, lessons: tuple[Lesson, ...]) -> str | None:
    for lesson in lessons:
        if index < lesson.num:
            return lesson.kinds[index % len(lesson.kinds)]
        index -= lesson.num
    return None


def _of_names(rng: random.Random, kind: str, config: Config) -> Text:
    if kind == "names":
        drawn = rng.random() - config.find_share
        kind = "find" if drawn < 0 else "look" if drawn < config.look_share else "repeat"
    names = rng.sample(NAMES, rng.randint(1, config.max_names))
    if kind == "repeat":
        return f"repeat: {' '.join(names)}", " ".join(names), ()
    items = (_found if kind == "find" else _looked_up)(rng, names, rng.randint(1, config.max_names // 2))
    return f"{kind}: {' '.join(names)}", *_written(items, config)


def _about(rng: random.Random, scene: Scene, config: Config) -> Text:
    kind = rng.random()
    if kind < config.check_share:
        items = _checked(rng, scene, rng.randint(1, config.max_checks))
        return "check: " + context(scene.pages), *_written(items, config)
    if kind < config.check_share + config.count_share:
        sentences, verdicts = zip(*_checked(rng, scene, rng.randint(1, config.max_checks)), strict=True)
        return context(scene.pages), " ".join([*sentences, _count(verdicts)]), ()
    if kind < config.check_share + config.count_share + config.page_find_share:
        names = [name for fact in scene.facts for name in (fact.title, fact.value)]
        items = _found(rng, names, rng.randint(1, config.max_names // 2))
        return "find: " + context(scene.pages), *_written(items, config)
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
    elif kind < config.ask_share + config.restore_share + config.copy_share + config.collect_share:
        head, response = _collect(rng, scene)
    else:
        head, response = "", _recap(rng, scene, config.max_recap_sentences)
    return head + context(scene.pages), response, ()


def _written(items: Iterable[tuple[str, str]], config: Config) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The response that says each thing and what is to be said to it, and the spans of the things if they are given."""
    response, given = "", []
    for said, answer in items:
        start = len(response) + bool(response)
        thing = said.removesuffix(".")
        response += " " * bool(response) + (thing if config.is_chance_given else f"{thing}.")
        given.append((start, len(response)))
        response += f" {answer}."
    return response, tuple(given) if config.is_chance_given else ()


def _found(rng: random.Random, names: Sequence[str], num: int) -> Iterator[tuple[str, str]]:
    """Some names and their verdicts: a third is of these names, a third is any name, a third was said before."""
    told: list[str] = []
    for _ in range(num):
        name = rng.choice((rng.choice(names), rng.choice(NAMES), rng.choice(told or names)))
        yield name, "again" if name in told else "right" if name in names else "wrong"
        told.append(name)


def _looked_up(rng: random.Random, names: Sequence[str], num: int) -> Iterator[tuple[str, str]]:
    """Two in three are of these names, the others any name; what stands behind it is the name's answer."""
    behind = dict(zip(names, [*names[1:], "end"], strict=True))
    for _ in range(num):
        name = rng.choice((rng.choice(names), rng.choice(names), rng.choice(NAMES)))
        yield name, behind.get(name, "wrong")


def _one_page_a_title(scene: Scene) -> Scene:
    pages = {page.facts[0].title: page for page in scene.pages}
    return replace(scene, pages=tuple(pages.values()))


def _ask(rng: random.Random, scene: Scene, max_items: int) -> tuple[str, str]:
    facts = rng.sample(scene.facts, min(len(scene.facts), rng.randint(1, max_items)))
    questions = [rng.choice(QUESTIONS[fact.attribute]).format(fact.title) for fact in facts]
    return f"ask: {' '.join(questions)} ", " ".join(sentence(fact) for fact in facts)


def _collect(rng: random.Random, scene: Scene) -> tuple[str, str]:
    asked = rng.choice(scene.facts).attribute
    question = rng.choice(QUESTIONS[asked]).format("each")
    told = [sentence(fact) for fact in scene.facts if fact.attribute == asked]
    return f"collect: {question} ", " ".join(told)


def _checked(rng: random.Random, scene: Scene, num: int) -> Iterator[tuple[str, str]]:
    """Facts of the pages, some with a value that no page gives, some told twice: (sentence, verdict)."""
    told: list[Fact] = []
    for _ in range(num):
        kind = rng.random()
        fact = rng.choice(told) if told and kind < 0.3 else rng.choice(scene.facts)
        if kind > 0.65:
            fact = fact._replace(value=rng.choice(VALUES[fact.attribute]))
        is_again = any(fact.claim == earlier.claim for earlier in told)
        is_right = any(fact.claim == known.claim for known in scene.facts)
        yield sentence(fact), "again" if is_again else "right" if is_right else "wrong"
        told.append(fact)


def _count(verdicts: tuple[str, ...]) -> str:
    """For instance: So two right, no wrong, one again."""
    numbers = Counter(verdicts)
    return "So " + ", ".join(f"{NUMBERS[numbers[verdict]]} {verdict}" for verdict in VERDICTS) + "."


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
