"""The world of film reviews: its true sentiment by hand, its records, and its annotators' rates."""

from itertools import combinations
from math import exp
from statistics import mean, pstdev
from typing import get_args

import pytest

from posttrain.data.agreement import agreement
from posttrain.data.records import Comparison, Demonstration, Pair, Prompt
from posttrain.worlds.reviews import Config, annotators, load
from posttrain.worlds.reviews.grammar import ASPECTS, FACTS
from posttrain.worlds.reviews.lexicon import INTENSIFIERS, NEGATIONS, SOFTENERS, VALENCES, opinions, sentiment
from posttrain.worlds.reviews.source import Split, split_of

SPLITS: tuple[Split, ...] = get_args(Split)

FIRST = Demonstration(
    Prompt("We saw Northern Crossing, a mystery, last week.", "evaluation-0-0", facts={"title": "Northern Crossing"}),
    "I found the cast good. The ending is awful.",
)

BY_HAND = {
    "": 0.0,
    "It runs for two hours.": 0.0,
    "The cast is good.": (1 / 3) / 2,
    "The CAST is Superb!": 1 / 2,
    "The cast is awful": -1 / 2,
    "The cast is very good.": (1.5 / 3) / 2,
    "The cast is truly superb.": 1 / 2,  # no opinion is stronger than 1
    "The cast is rather dull.": -(1 / 3) / 2,
    "The cast is never dull.": (1 / 3) / 2,
    "The cast is not brilliant.": -0.5 / 2,
    "The cast is not very good.": -0.5 * (1.5 / 3) / 2,
    "never was it really good": (1 / 3) / 2,  # "never" is three words away
    "never, good": (1 / 3) / 2,
    "never dull good": (1 / 3 + 1 / 3) / 3,  # "never" reaches the next opinion only
    "The story is clever, but the ending is awful. I loved it.": (2 / 3 - 1 + 1) / 4,
    "superb superb superb": 3 / 4,
    "goodness, dullish: superbly nothing": 0.0,
}
"""Texts, and the sum of their opinions over one more than their number."""


@pytest.mark.parametrize(("text", "expected"), BY_HAND.items(), ids=lambda value: str(value)[:40])
def test_sentiment_by_hand(text: str, expected: float):
    assert sentiment(text) == pytest.approx(expected, abs=1e-12)


def test_no_word_has_two_meanings_and_facts_have_no_opinion():
    changes = (*INTENSIFIERS, *SOFTENERS, *NEGATIONS)
    assert len({*VALENCES, *changes, *ASPECTS}) == len(VALENCES) + len(changes) + len(ASPECTS)
    assert [fact for fact in FACTS if list(opinions(fact))] == []
    assert sum(VALENCES.values()) == pytest.approx(0)


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_gives_the_same_records_and_a_longer_stream_begins_like_a_shorter(split: Split):
    records = load(Config(split=split, num=20, seed=3))
    assert records == load(Config(split=split, num=20, seed=3))
    assert records[:5] == load(Config(split=split, num=5, seed=3))
    assert records != load(Config(split=split, num=20, seed=4))


def test_the_stream_is_the_same_on_every_machine():
    (first,) = load(Config(split="evaluation", num=1, should_answer=True))
    assert first == FIRST


def test_what_each_split_yields():
    pretraining, demonstrations, prompts, evaluation = (load(Config(split=split, num=50)) for split in SPLITS)
    assert all(isinstance(it, Demonstration) and it.prompt.text == "" for it in pretraining)
    assert all(isinstance(it, Demonstration) and not list(opinions(it.prompt.text)) for it in demonstrations)
    assert all(isinstance(it, Prompt) and not list(opinions(it.text)) for it in (*prompts, *evaluation))


def test_a_film_belongs_to_one_split_whatever_the_seed():
    for split in ("demonstrations", "prompts", "evaluation"):
        for seed in (0, 1):
            records = load(Config(split=split, num=100, seed=seed, should_answer=True))
            assert {split_of(it.prompt.facts["title"]) for it in records if isinstance(it, Demonstration)} == {split}


def test_reviews_are_as_often_good_as_bad_and_differ():
    texts = [it.response for it in load(Config(split="demonstrations", num=2000)) if isinstance(it, Demonstration)]
    values = [sentiment(text) for text in texts]
    assert abs(mean(values)) < 0.03
    assert 0.2 < pstdev(values) < 0.4
    assert all(list(opinions(text)) for text in texts)
    assert all(text[0].isupper() and text.endswith(".") for text in texts)
    assert len(set(texts)) > 1900


def test_the_annotators_follow_rao_and_kupper():
    scores, config = (0.3, 0.1, 0.1), annotators.Config(scale=5.0, tie_theta=1.5)
    prompts = [Prompt(f"opening {i}") for i in range(3000)]
    labelled = [annotators.label(prompt, ("a", "b", "c"), scores, config) for prompt in prompts]
    assert [(pair.first, pair.second) for pair in labelled[0].pairs] == [(0, 1), (0, 2), (1, 2)]
    first = 1 / (1 + 1.5 * exp(-5.0 * 0.2))
    second = 1 / (1 + 1.5 * exp(5.0 * 0.2))
    equal = 1 / (1 + 1.5)
    expected = ((1 - first - second, first, second), (1 - first - second, first, second), (1 - 2 * equal, equal, equal))
    for place, probabilities in enumerate(expected):
        labels = [comparison.pairs[place].label for comparison in labelled]
        for label, probability in enumerate(probabilities):
            deviation = (probability * (1 - probability) / len(labels)) ** 0.5
            assert abs(labels.count(label) / len(labels) - probability) < 4 * deviation


def test_labels_depend_on_seed_prompt_and_responses_only():
    config = annotators.Config()
    one, other = Prompt("one"), Prompt("other")
    given = ("a", "b", "c", "d"), (0.1, 0.2, 0.15, 0.1)
    first = annotators.label(one, *given, config)
    annotators.label(other, *given, config)
    assert annotators.label(one, *given, config) == first
    assert len(first.pairs) == len(list(combinations(range(4), 2)))
    seeds = {annotators.label(one, *given, annotators.Config(seed=seed)).pairs for seed in range(20)}
    assert len(seeds) > 10


def test_the_most_preferred_and_the_agreement_by_hand():
    pairs = (Pair(0, 1, 2), Pair(0, 2, 0), Pair(1, 2, 1))
    comparison = Comparison(Prompt("x"), ("a", "b", "c"), pairs)
    assert annotators.most_preferred(comparison) == 1
    assert annotators.most_preferred(Comparison(Prompt("x"), ("a", "b"), (Pair(0, 1, 0),))) is None
    # 1 over 0 is as labelled; 1 and 2 are equal, which counts half; the tie is left out
    assert agreement([comparison], [(0.1, 0.5, 0.5)]) == (0.75, 2)
