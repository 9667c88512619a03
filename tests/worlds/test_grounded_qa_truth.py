"""The true reward of answers worked out by hand: completeness - wrong / (2 sentences) - bad / (2 sub-sentences)."""

import json

import pytest

from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.worlds.grounded_qa.grammar import ATTRIBUTES, VALUES, Fact, parse, sentence
from posttrain.worlds.grounded_qa.truth import gold, judge

ALBUM = "In 1994 the album Dalune came out."
FILM = "In 1950 the film Dalune came out."


def test_the_prompt_has_the_shape_of_qa_feedback(prompt: Prompt) -> None:
    assert prompt.text == (
        "question: When did Dalune come out? context: "
        "wikipage: Dalune (album) text: Tuton made the album Dalune. In 1994 the album Dalune came out. | "
        "wikipage: Dalune (film) text: In 1950 the film Dalune came out. The Amber prize went to the film Dalune. | "
        "wikipage: Zonox (film) text: In 1971 the film Zonox came out. In Dovale the film Zonox was first shown."
    )
    assert prompt.references == (f"{ALBUM} {FILM}",)
    assert json.loads(json.dumps(prompt.facts)) == prompt.facts


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (f"{ALBUM} {FILM}", 1.0),
        ("The album Dalune came out in 1994. The film Dalune came out in 1950.", 1.0),
        ("In 1994 the album Dalune came out, and it was made by Tuton.", 0.5 - 0.5 * 1 / 2),
        ("The Amber prize went to the film Dalune.", -0.5),
        ("Tuton made the film Dalune.", -1.0),
        ("In 1994 the album Dalune.", -0.5),
        (f"{FILM} {ALBUM}", 1.0),
        ("The album Dalune came out in 1994, and the film Dalune came out in 1950.", 1.0),
        ("The album Dalune came out in 1994 . The film Dalune came out in 1950 .", 1.0),
        (f"{ALBUM} The film Dalune came out in 1950", 1.0),
        (ALBUM, 0.5),
        # One of two sentences wrong; it is relevant, and it completes nothing.
        (f"{ALBUM} The film Dalune came out in 1994.", 0.5 - 0.5 * 1 / 2),
        # Both values told of both: complete, two of four sentences wrong, two of four sub-sentences redundant.
        (
            f"{ALBUM} {FILM} The album Dalune came out in 1950. The film Dalune came out in 1994.",
            1 - 0.5 * 2 / 4 - 0.5 * 2 / 4,
        ),
        (f"{ALBUM} {ALBUM}", 0.5 - 0.5 * 1 / 2),
        (f"{ALBUM} {FILM} {ALBUM}", 1 - 0.5 * 1 / 3),
        # True, but not asked: two sub-sentences, one bad; and of three sentences, one.
        ("The album Dalune came out in 1994, and it was made by Tuton.", 0.5 - 0.5 * 1 / 2),
        (f"{ALBUM} {FILM} The film Zonox came out in 1971.", 1 - 0.5 * 1 / 3),
        # Not asked and not true: the sentence is wrong and one of its two sub-sentences is bad.
        ("The album Dalune came out in 1994, and it was made by Badle.", 0.5 - 0.5 - 0.5 * 1 / 2),
        ("", 0.0),
        (" \n", 0.0),
        ("Dalune Dalune the the", -0.5),
        (".", -0.5),
        ("It came out in 1994.", -0.5),
        ("The album Dalune came out in Tuton.", -0.5),
        # Everything bad: nothing complete, all wrong, nothing relevant.
        ("The opera Zonox came out in 1994.", -1.0),
        # Cut at the length limit: the half sentence does not parse.
        (f"{ALBUM} The film Dalune came", 0.5 - 0.5 * 1 / 2),
    ],
)
def test_reward_by_hand(prompt: Prompt, answer: str, expected: float) -> None:
    assert gold(prompt, answer) == pytest.approx(expected, abs=1e-12)


def test_spans_carry_offsets_and_errors(prompt: Prompt) -> None:
    answer = "The album Dalune came out in 1951, and it was made by Tuton.  Blah. The film Dalune came out in 1950."
    truth = judge(prompt, answer)
    assert [(answer[span.start : span.end], span.value, span.error) for span in truth.factuality] == [
        ("The album Dalune came out in 1951, and it was made by Tuton.", -1, "Wrong-Grounding"),
        ("Blah.", 1, None),
        ("The film Dalune came out in 1950.", 1, None),
    ]
    assert [(answer[span.start : span.end], span.value, span.error) for span in truth.relevance] == [
        ("The album Dalune came out in 1951,", 1, None),
        ("and it was made by Tuton.", -1, "Irrelevant"),
        ("Blah.", -1, "Incoherent"),
        ("The film Dalune came out in 1950.", 1, None),
    ]
    assert truth.factuality[0].explanation == "The passages say 1994, not 1951."
    assert truth.missing == (Fact("album", "Dalune", "year", "1994"),)
    assert truth.completeness == 0.5
    assert truth.reward == pytest.approx(0.5 - 0.5 * 1 / 3 - 0.5 * 2 / 4, abs=1e-12)


def test_what_the_passages_do_not_say_is_unverifiable(prompt: Prompt) -> None:
    truth = judge(prompt, "The film Dalune was made by Tuton.")
    assert [span.error for span in truth.factuality] == ["Unverifiable"]
    assert [span.error for span in truth.relevance] == ["Irrelevant"]


def test_the_second_telling_is_the_redundant_one(prompt: Prompt) -> None:
    truth = judge(prompt, f"{ALBUM} {FILM} {ALBUM}")
    assert [span.error for span in truth.relevance] == [None, None, "Redundant"]


def test_every_sentence_of_the_grammar_reads_back() -> None:
    for attribute in ATTRIBUTES:
        for value in VALUES[attribute]:
            fact = Fact("game", "Vorith", attribute, value)
            other = Fact("game", "Vorith", "year", "1940")
            claims = [part.claim for whole in parse(sentence(fact, other)) for part in whole.sub_sentences]
            assert claims == [fact, other]


def test_it_does_not_reach_into_the_next_sentence() -> None:
    claims = [part.claim for whole in parse(f"{ALBUM} and it was made by Tuton.") for part in whole.sub_sentences]
    assert claims == [Fact("album", "Dalune", "year", "1994"), None]


@pytest.mark.parametrize("value", ["Tuton", "in", "", "1994 1950"])
def test_a_value_of_another_kind_is_incoherent(prompt: Prompt, value: str) -> None:
    truth = judge(prompt, f"The album Dalune came out in {value}.")
    assert [span.error for span in truth.relevance] == ["Incoherent"]
    assert [span.error for span in truth.factuality] == [None]


def test_a_prompt_of_another_source_is_refused() -> None:
    with pytest.raises(InputError, match=r"'other-7'.*grounded_qa"):
        gold(Prompt("question: ?", id="other-7"), ALBUM)
