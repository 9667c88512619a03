"""Each kind of pretraining text is checked against the words of its own prompt."""

import re
from collections import Counter
from typing import Any

import pytest

from posttrain.data.records import Demonstration
from posttrain.worlds.grounded_qa import Config as SourceConfig
from posttrain.worlds.grounded_qa import load
from posttrain.worlds.grounded_qa.grammar import ATTRIBUTES, QUESTIONS, VALUES, Claim, parse
from posttrain.worlds.grounded_qa.names import TITLES
from posttrain.worlds.grounded_qa.pretraining import Config

SHARES = ("names", "check", "count", "page_find", "ask", "restore", "copy", "collect")
NONE: dict[str, Any] = dict.fromkeys((f"{name}_share" for name in SHARES), 0.0)
NAMES = {*TITLES, *(value for values in VALUES.values() for value in values)}


def texts(num: int = 300, **settings: Any) -> list[Demonstration]:
    records = load(SourceConfig(split="pretraining", num=num, pretraining=Config.model_validate(settings)))
    demonstrations = [record for record in records if isinstance(record, Demonstration)]
    assert len(demonstrations) == num
    return demonstrations


def pages(text: Demonstration) -> list[tuple[str, str]]:
    """(title, sentences) of each page."""
    written = text.prompt.text.partition("context: ")[2].split(" | ")
    heads_and_bodies = [page.removeprefix("wikipage: ").split(" text: ") for page in written]
    return [(head.split()[0], body) for head, body in heads_and_bodies]


def claims(answer: str) -> list[Claim | None]:
    return [part.claim for whole in parse(answer) for part in whole.sub_sentences]


def asked(question: str) -> tuple[str, str]:
    """(title, attribute) of a question."""
    for attribute in ATTRIBUTES:
        for form in QUESTIONS[attribute]:
            match = re.fullmatch(re.escape(form).replace(r"\{\}", r"(\w+)"), question)
            if match:
                return match.group(1), attribute
    raise AssertionError(question)


def test_no_text_is_about_the_task() -> None:
    for text in texts():
        assert "question:" not in text.prompt.text
        assert not text.prompt.facts
        has_one_answer = text.prompt.text.split()[0] in ("repeat:", "copy:", "ask:", "collect:")
        assert text.prompt.references == ((text.response,) if has_one_answer else ())


def test_a_repetition_has_the_same_names_once_each() -> None:
    numbers = set()
    for text in texts(names_share=1.0, find_share=0.0, max_names=5):
        names = text.response.split()
        assert text.prompt.text == "repeat: " + text.response
        assert len(set(names)) == len(names)
        assert set(names) <= NAMES
        numbers.add(len(names))
    assert numbers == {1, 2, 3, 4, 5}


def test_names_are_found() -> None:
    numbers: Counter[str] = Counter()
    for text in texts(names_share=1.0, find_share=1.0, max_names=8):
        head, *listed = text.prompt.text.split()
        assert head == "find:"
        assert 1 <= len(listed) == len(set(listed)) <= 8
        *parts, rest = [part.strip() for part in text.response.split(".")]
        assert rest == ""
        assert 1 <= len(parts) // 2 <= 4
        assert set(listed) | set(parts[::2]) <= NAMES
        for row, (name, verdict) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
            assert verdict == ("again" if name in parts[: 2 * row : 2] else "right" if name in listed else "wrong")
            numbers[verdict] += 1
    assert min(numbers.values()) > 0.15 * sum(numbers.values())
    assert len(numbers) == 3


def test_what_stands_behind_a_name_is_looked_up() -> None:
    numbers: Counter[str] = Counter()
    for text in texts(names_share=1.0, find_share=0.0, look_share=1.0, max_names=6):
        head, *listed = text.prompt.text.split()
        assert head == "look:"
        parts = text.response.replace(".", "").split()
        assert text.response == " ".join(f"{part}." for part in parts)
        assert 1 <= len(parts) // 2 <= 3
        for name, answer in zip(parts[::2], parts[1::2], strict=True):
            place = listed.index(name) if name in listed else None
            expected = "wrong" if place is None else "end" if place == len(listed) - 1 else listed[place + 1]
            assert answer == expected
            numbers["wrong" if place is None else "right"] += 1
    assert 0.2 < numbers["wrong"] / sum(numbers.values()) < 0.5


def test_names_of_the_pages_are_found() -> None:
    for text in texts(**NONE | {"page_find_share": 1.0}):
        assert text.prompt.text.startswith("find: context: ")
        known = {
            word for _, body in pages(text) for claim in claims(body) if claim for word in (claim.title, claim.value)
        }
        parts = text.response.replace(".", "").split()
        for row, (name, verdict) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
            expected = "again" if name in parts[: 2 * row : 2] else "right" if name in known else "wrong"
            assert verdict == expected


@pytest.mark.parametrize(
    ("share", "form"),
    [
        ({"names_share": 1.0, "find_share": 1.0}, r"(\w+)\.? (?:right|wrong|again)\."),
        ({"names_share": 1.0, "find_share": 0.0, "look_share": 1.0}, r"(\w+)\.? \w+\."),
        (NONE | {"page_find_share": 1.0}, r"(\w+)\.? (?:right|wrong|again)\."),
        (NONE | {"check_share": 1.0}, r"(\w[\w ]*?)\.? (?:right|wrong|again)\."),
    ],
)
def test_what_is_left_to_chance_can_be_given(share: dict[str, Any], form: str) -> None:
    learnt, given = (texts(50, **share, is_chance_given=is_given) for is_given in (False, True))
    for said, dictated in zip(learnt, given, strict=True):
        assert said.prompt == dictated.prompt
        assert said.given == ()
        things = [match.span(1) for match in re.finditer(form, dictated.response)]
        assert dictated.given == tuple(things)
        assert re.sub(form, "", dictated.response).strip() == ""
        with_stops = re.sub(
            form, lambda match: match.group().replace(match.group(1), f"{match.group(1)}.", 1), dictated.response
        )
        assert with_stops == said.response


def test_what_is_not_left_to_chance_is_learnt() -> None:
    names = texts(50, names_share=1.0, find_share=0.0, is_chance_given=True)
    pages = texts(300, **NONE | {"count_share": 0.3, "ask_share": 0.3, "restore_share": 0.3, "copy_share": 0.2})
    given = texts(
        300,
        **NONE | {"count_share": 0.3, "ask_share": 0.3, "restore_share": 0.3, "copy_share": 0.2},
        is_chance_given=True,
    )
    assert [text.response for text in pages] == [text.response for text in given]
    assert {text.given for text in [*names, *given]} == {()}


def test_a_mix_of_copies_and_questions_can_be_compared_word_for_word() -> None:
    shares = {"copy_share": 0.4, "ask_share": 0.3, "collect_share": 0.3}
    assert all(text.prompt.references == (text.response,) for text in texts(100, **NONE | shares))


def test_shares_of_one_whole_are_at_most_one() -> None:
    Config.model_validate({"check_share": 0.5, "count_share": 0.3, "page_find_share": 0.2})
    for over in (
        {"check_share": 0.5, "count_share": 0.3, "page_find_share": 0.3},
        {"find_share": 0.6, "look_share": 0.5},
        {"ask_share": 0.9, "restore_share": 0.2, "copy_share": 0.0},
        {"ask_share": 0.4, "restore_share": 0.2, "copy_share": 0.3, "collect_share": 0.2},
    ):
        with pytest.raises(ValueError, match=r"share one whole, so it can be 1 at most"):
            Config.model_validate(over)


def test_counts_are_right() -> None:
    words = ("no", "one", "two", "three", "four")
    seen = set()
    for text in texts(**NONE | {"count_share": 1.0, "max_checks": 4}):
        assert text.prompt.text.startswith("context: ")
        known = {claim for _, body in pages(text) for claim in claims(body)}
        body, count = text.response.split(" So ")
        told = claims(body)
        assert None not in told
        again = sum(claim in told[:row] for row, claim in enumerate(told))
        right = len(set(told) & known)
        wrong = len(told) - again - right
        assert count == f"{words[right]} right, {words[wrong]} wrong, {words[again]} again."
        seen.add((right, wrong, again))
    assert len(seen) > 15


def test_verdicts_are_right() -> None:
    numbers: Counter[str] = Counter()
    for text in texts(**NONE | {"check_share": 1.0, "max_checks": 4}):
        assert text.prompt.text.startswith("check: context: ")
        known = {claim for _, body in pages(text) for claim in claims(body)}
        *parts, rest = text.response.split(".")
        assert rest == ""
        assert 1 <= len(parts) // 2 <= 4
        told: set[Claim | None] = set()
        for whole, verdict in zip(parts[::2], parts[1::2], strict=True):
            (claim,) = claims(whole)
            assert claim is not None
            expected = "again" if claim in told else "right" if claim in known else "wrong"
            assert verdict.strip() == expected
            told.add(claim)
            numbers[expected] += 1
    assert min(numbers.values()) > 0.1 * sum(numbers.values())
    assert len(numbers) == 3


def test_the_stream_begins_with_the_first_lessons() -> None:
    first = [
        {"kinds": ["find"], "num": 7}, {"kinds": ["repeat", "look", "look"], "num": 5}, {"kinds": ["names"], "num": 60}
    ]  # fmt: skip
    heads = [text.prompt.text.split()[0] for text in texts(num=90, **NONE | {"first": first})]
    assert heads[:12] == ["find:"] * 7 + ["repeat:", "look:", "look:"] + ["repeat:", "look:"]
    assert set(heads[12:72]) == {"find:", "repeat:"}
    assert set(heads[72:]) == {"context:"}


def test_a_text_says_only_what_its_context_says_and_says_it_once() -> None:
    for text in texts(names_share=0.0, check_share=0.0, count_share=0.0):
        told = claims(text.response)
        context = {claim for _, body in pages(text) for claim in claims(body)}
        assert None not in context
        assert set(told) <= context
        assert len(set(told)) == len(told) > 0


def test_a_copy_is_the_text_of_the_pages() -> None:
    for text in texts(num=50, **NONE | {"copy_share": 1.0}):
        assert text.prompt.text.startswith("copy: context: ")
        assert text.response == " ".join(body for _, body in pages(text))


def test_a_recap_joins_only_what_one_page_says() -> None:
    num_joined = 0
    for text in texts(num=500, **NONE):
        assert text.prompt.text.startswith("context: ")
        told_by_page = [set(claims(body)) for _, body in pages(text)]
        for whole in parse(text.response):
            told = {part.claim for part in whole.sub_sentences}
            assert any(told <= page for page in told_by_page)
            num_joined += len(told) > 1
    assert 25 < num_joined < 150


def test_a_restoration_fills_one_gap_a_sentence() -> None:
    for text in texts(300, **NONE | {"restore_share": 1.0}):
        gapped = text.prompt.text.removeprefix("restore: ").partition(" context: ")[0]
        assert len(gapped.split(".")) == len(text.response.split("."))
        for broken, whole in zip(gapped.split("."), text.response.split("."), strict=True):
            before, *after = broken.split("blank")
            assert len(after) == (1 if whole else 0)
            assert whole.startswith(before)
            assert whole.endswith("".join(after))
            if whole:
                assert 1 <= len(whole.split()) - len(broken.split()) + 1 <= 3


def test_asked_questions_have_one_answer_each() -> None:
    numbers = set()
    for text in texts(300, **NONE | {"ask_share": 1.0, "short_share": 0.0}):
        titles = [title for title, _ in pages(text)]
        assert len(set(titles)) == len(titles)
        head = text.prompt.text.removeprefix("ask: ").partition(" context: ")[0]
        questions = re.findall(r"[^?]+\?", head)
        answers = claims(text.response)
        assert [asked(question.strip()) for question in questions] == [claim[:2] for claim in answers if claim]
        numbers.add(len(questions))
    assert numbers == {1, 2, 3, 4}


def test_a_collection_is_all_that_the_pages_say_of_one_thing() -> None:
    numbers = set()
    for text in texts(300, **NONE | {"collect_share": 1.0, "short_share": 0.3}):
        head = text.prompt.text.removeprefix("collect: ").partition(" context: ")[0]
        who, attribute = asked(head)
        assert who == "each"
        known = [claim for _, body in pages(text) for claim in claims(body) if claim]
        told = claims(text.response)
        assert told == [claim for claim in known if claim.attribute == attribute]
        numbers.add(len(told))
    assert numbers == {1, 2, 3, 4, 5}


def test_short_texts_have_one_or_two_pages() -> None:
    def numbers(short_share: float) -> Counter[int]:
        drawn = texts(num=1000, **NONE | {"copy_share": 1.0, "short_share": short_share})
        return Counter(len(pages(text)) for text in drawn)

    assert set(numbers(1.0)) == {1, 2}
    whole = numbers(0.0)
    assert set(whole) == {2, 3, 4, 5}
    # Half of the short texts have one page, which no whole scene has; one standard deviation is 0.0145.
    assert numbers(0.6)[1] / 1000 == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # 0.15 of names, half to be found; 0.2 and 0.15 of what is left; the shares of the rest. Counts are no heads.
        (
            {},
            {"repeat:": 0.075, "find:": 0.075, "check:": 0.17, "ask:": 0.166, "restore:": 0.11, "copy:": 0.138}
            | {"context:": 0.128 + 0.138},
        ),
        (
            {"names_share": 0.0, "check_share": 0.0, "count_share": 0.0}
            | {"ask_share": 0.1, "restore_share": 0.4, "copy_share": 0.2, "collect_share": 0.15},
            {"ask:": 0.1, "restore:": 0.4, "copy:": 0.2, "collect:": 0.15, "context:": 0.15},
        ),
        (NONE | {"ask_share": 1.0}, {"ask:": 1.0}),
        (NONE | {"restore_share": 1.0}, {"restore:": 1.0}),
        (NONE | {"copy_share": 1.0}, {"copy:": 1.0}),
        (NONE, {"context:": 1.0}),
        ({"names_share": 1.0, "find_share": 0.3}, {"repeat:": 0.7, "find:": 0.3}),
        (
            {"names_share": 1.0, "find_share": 0.3, "look_share": 0.5},
            {"repeat:": 0.2, "find:": 0.3, "look:": 0.5},
        ),
        (NONE | {"check_share": 0.3, "page_find_share": 0.6}, {"check:": 0.3, "find:": 0.6, "context:": 0.1}),
        (NONE | {"check_share": 1.0}, {"check:": 1.0}),
    ],
)
def test_pretraining_shares(settings: dict[str, Any], expected: dict[str, float]) -> None:
    heads = Counter(text.prompt.text.split()[0] for text in texts(num=1000, **settings))
    # 1000 draws: one standard deviation is at most 0.0155.
    assert {head: number / 1000 for head, number in heads.items()} == pytest.approx(expected, abs=0.05)
