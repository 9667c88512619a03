"""The true reward of answers worked out by hand: completeness - wrong / sentences - bad / sub-sentences."""

import json

import pytest

from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.worlds.grounded_qa.grammar import ATTRIBUTES, VALUES, Claim, Fact, parse, sentence
from posttrain.worlds.grounded_qa.names import TITLES
from posttrain.worlds.grounded_qa.truth import gold, judge

ALBUM = "Dalune came out in 1994."
FILM = "Dalune came out in 1950."
WRONG = "Dalune came out in 1951."


def claims(answer: str) -> list[Claim | None]:
    return [part.claim for whole in parse(answer) for part in whole.sub_sentences]


def test_the_prompt_has_the_shape_of_qa_feedback(prompt: Prompt) -> None:
    assert prompt.text == (
        "question: When did Dalune come out? context: "
        "wikipage: Dalune (album) text: Dalune was made by Tuton. Dalune came out in 1994. | "
        "wikipage: Dalune (film) text: Dalune came out in 1950. Dalune won the Amber prize. | "
        "wikipage: Zonox (film) text: Zonox came out in 1971. Zonox was first shown in Dovale."
    )
    assert prompt.references == (f"{ALBUM} {FILM}",)
    assert json.loads(json.dumps(prompt.facts)) == prompt.facts


COMPLETE = [
    (f"{ALBUM} {FILM}", 1.0),
    (f"{FILM} {ALBUM}", 1.0),
    ("Dalune came out in 1994, and it came out in 1950.", 1.0),
    ("Dalune came out in 1994, and Dalune came out in 1950.", 1.0),
    ("Dalune came out in 1994 . Dalune came out in 1950 .", 1.0),
    (f"{ALBUM}{FILM}", 1.0),
    (f"{ALBUM} Dalune came out in 1950", 1.0),
]

INCOMPLETE = [
    (ALBUM, 0.5),
    (FILM, 0.5),
    ("", 0.0),
    (" \n", 0.0),
]

WRONG_VALUE = [
    # Asked, so relevant; it completes nothing.
    (WRONG, -1),
    # The value of the page about another title.
    ("Dalune came out in 1971.", -1),
    (f"{ALBUM} {WRONG}", 0.5 - 1 / 2),
    (f"{ALBUM} {FILM} {WRONG}", 1 - 1 / 3),
    # The whole sentence is wrong, yet its first sub-sentence completes.
    ("Dalune came out in 1994, and it came out in 1951.", 0.5 - 1),
    (f"{WRONG} {WRONG}", -1 - 1 / 2),
]

REPEATED = [
    (f"{ALBUM} {ALBUM}", 0.5 - 1 / 2),
    ("Dalune came out in 1994, and it came out in 1994.", 0.5 - 1 / 2),
    (f"{ALBUM} {FILM} {ALBUM}", 1 - 1 / 3),
    (f"{ALBUM} {FILM} {ALBUM} {FILM}", 1 - 2 / 4),
]

NOT_ASKED = [
    ("Dalune won the Amber prize.", -1),
    # One of two sub-sentences is bad, and then one of three.
    ("Dalune came out in 1994, and it was made by Tuton.", 0.5 - 1 / 2),
    (f"{ALBUM} {FILM} Dalune was made by Tuton.", 1 - 1 / 3),
    # A page says it of one homonym, another page of the other: all true, two of three not asked.
    ("Dalune was made by Tuton, and it won the Amber prize, and it came out in 1994.", 0.5 - 2 / 3),
    # The asked attribute of the title that was not asked about.
    ("Zonox came out in 1971.", -1),
    (f"{ALBUM} {FILM} Zonox came out in 1971.", 1 - 1 / 3),
    ("Zonox came out in 1971, and Dalune came out in 1994, and it came out in 1950.", 1 - 1 / 3),
]

NOT_ASKED_AND_NOT_TRUE = [
    ("Dalune came out in 1994, and it was made by Badle.", 0.5 - 1 - 1 / 2),
    # No page names Vorith, none says where Dalune was shown, and Zonox did not come out when Dalune did.
    ("Vorith came out in 1994.", -2),
    ("Dalune was first shown in Dovale.", -2),
    ("Zonox came out in 1994.", -2),
    # `it` is Zonox, the title named last.
    ("Dalune came out in 1994, and Zonox came out in 1971, and it came out in 1950.", 0.5 - 1 - 2 / 3),
]

NONSENSE = [
    ("Dalune Dalune the the", -1),
    (".", -1),
    ("It came out in 1994.", -1),
    ("and it came out in 1994.", -1),
    ("dalune came out in 1994.", -1),
    ("Dalun came out in 1994.", -1),
    ("Dalune (album) came out in 1994.", -1),
    ("The album Dalune came out in 1994.", -1),
    ("Dalune came out in Tuton.", -1),
    ("Dalune came out in.", -1),
    ("Dalune came out in 1994 1950.", -1),
    ("Dalune won the Amber.", -1),
    # Cut at the length limit: the half sentence does not parse.
    (f"{ALBUM} Dalune came", 0.5 - 1 / 2),
]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [*COMPLETE, *INCOMPLETE, *WRONG_VALUE, *REPEATED, *NOT_ASKED, *NOT_ASKED_AND_NOT_TRUE, *NONSENSE],
)
def test_reward_by_hand(prompt: Prompt, answer: str, expected: float) -> None:
    assert gold(prompt, answer) == pytest.approx(expected, abs=1e-12)


def test_spans_carry_offsets_and_errors(prompt: Prompt) -> None:
    answer = "Dalune came out in 1951, and it was made by Tuton.  Blah. Dalune came out in 1950."
    truth = judge(prompt, answer)
    assert [(answer[span.start : span.end], span.value, span.error) for span in truth.factuality] == [
        ("Dalune came out in 1951, and it was made by Tuton.", -1, "Wrong-Grounding"),
        ("Blah.", 1, None),
        ("Dalune came out in 1950.", 1, None),
    ]
    assert [(answer[span.start : span.end], span.value, span.error) for span in truth.relevance] == [
        ("Dalune came out in 1951,", 1, None),
        ("and it was made by Tuton.", -1, "Irrelevant"),
        ("Blah.", -1, "Incoherent"),
        ("Dalune came out in 1950.", 1, None),
    ]
    assert truth.factuality[0].explanation == "The passages say 1994 or 1950, not 1951."
    assert truth.missing == (Fact("album", "Dalune", "year", "1994"),)
    assert truth.completeness == 0.5
    assert truth.reward == pytest.approx(0.5 - 1 / 3 - 2 / 4, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "factuality", "relevance"),
    [
        (WRONG, "Wrong-Grounding", None),
        ("Dalune was made by Badle.", "Wrong-Grounding", "Irrelevant"),
        # The value is on a page, but of another title.
        ("Dalune came out in 1971.", "Wrong-Grounding", None),
        ("Zonox came out in 1950.", "Wrong-Grounding", "Irrelevant"),
        # The attribute of the title, or the title itself, is on no page.
        ("Dalune was first shown in Dovale.", "Unverifiable", "Irrelevant"),
        ("Zonox was made by Tuton.", "Unverifiable", "Irrelevant"),
        ("Vorith came out in 1994.", "Unverifiable", "Irrelevant"),
        ("Zonox came out in 1971.", None, "Irrelevant"),
        ("Dalune won the Amber prize.", None, "Irrelevant"),
        ("Blah.", None, "Incoherent"),
        ("Dalune came out in Tuton.", None, "Incoherent"),
        ("Dalune came out in in.", None, "Incoherent"),
        (FILM, None, None),
    ],
)
def test_the_error_of_one_sentence(prompt: Prompt, answer: str, factuality: str | None, relevance: str | None) -> None:
    truth = judge(prompt, answer)
    assert [span.error for span in truth.factuality] == [factuality]
    assert [span.error for span in truth.relevance] == [relevance]


def test_the_second_telling_is_the_redundant_one(prompt: Prompt) -> None:
    truth = judge(prompt, f"{ALBUM} {FILM} {ALBUM}")
    assert [span.error for span in truth.relevance] == [None, None, "Redundant"]
    unasked = judge(prompt, "Zonox came out in 1971. Zonox came out in 1971.")
    assert [span.error for span in unasked.relevance] == ["Irrelevant", "Redundant"]


def test_what_is_missing_is_told_of_its_homonym(prompt: Prompt) -> None:
    album, film = Fact("album", "Dalune", "year", "1994"), Fact("film", "Dalune", "year", "1950")
    assert judge(prompt, f"{ALBUM} {FILM}").missing == ()
    assert judge(prompt, ALBUM).missing == (film,)
    assert judge(prompt, FILM).missing == (album,)
    assert judge(prompt, WRONG).missing == (album, film)


def test_every_sentence_of_the_grammar_reads_back() -> None:
    for title in TITLES:
        for attribute in ATTRIBUTES:
            for value in VALUES[attribute]:
                fact, other = Fact("game", title, attribute, value), Fact("game", title, "year", "1940")
                assert claims(sentence(fact, other)) == [fact.claim, other.claim]


def test_a_sentence_is_about_one_homonym() -> None:
    with pytest.raises(AssertionError, match="subject of the sentence"):
        sentence(Fact("album", "Dalune", "year", "1994"), Fact("film", "Dalune", "prize", "Amber"))


def test_it_does_not_reach_into_the_next_sentence() -> None:
    assert claims(f"{ALBUM} and it was made by Tuton.") == [Claim("Dalune", "year", "1994"), None]


def test_it_reaches_over_a_sub_sentence_that_does_not_parse() -> None:
    answer = "Dalune came out in 1994, blah, and it was made by Tuton."
    assert claims(answer) == [Claim("Dalune", "year", "1994"), None, Claim("Dalune", "maker", "Tuton")]


def test_a_prompt_of_another_source_is_refused() -> None:
    with pytest.raises(InputError, match=r"'other-7'.*grounded_qa"):
        gold(Prompt("question: ?", id="other-7"), ALBUM)
