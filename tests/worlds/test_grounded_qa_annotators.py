import gzip
import json
from collections import Counter
from math import exp
from pathlib import Path

import pytest

from posttrain.data.records import Comparison, Pair, Prompt
from posttrain.errors import InputError
from posttrain.worlds.grounded_qa import Config as SourceConfig
from posttrain.worlds.grounded_qa import load
from posttrain.worlds.grounded_qa.annotators import Config, annotator_reliability, ceiling, label, label_probabilities
from posttrain.worlds.grounded_qa.feedback import feedback_row

CAREFUL = Config(reliability=1.0, reliability_spread=0.0)
ALBUM = "Dalune came out in 1994."
FILM = "Dalune came out in 1950."
ANSWERS = (f"{ALBUM} {FILM}", ALBUM, f"{ALBUM} {ALBUM}", "Dalune came out in 1951.")

QA_FEEDBACK = Path(__file__).parents[2] / "../shared/data/qa_feedback/dev_feedback.jsonl.gz"


def shares(prompt: Prompt, first: str, second: str, config: Config, num: int = 6000) -> tuple[float, float, float]:
    """How often each label 0, 1, 2 is given, over seeds."""
    counts = Counter(
        label(prompt, (first, second), config.model_copy(update={"seed": seed})).pairs[0].label for seed in range(num)
    )
    return counts[0] / num, counts[1] / num, counts[2] / num


def comparisons(config: Config, num: int = 400) -> list[Comparison]:
    """Four answers of different worth to each of some prompts: all facts, one fact, all twice, and nonsense."""
    labelled = []
    for prompt in load(SourceConfig(split="prompts", num=num)):
        assert isinstance(prompt, Prompt)
        complete = prompt.references[0]
        one = complete.partition(".")[0] + "."
        labelled.append(label(prompt, (complete, one, f"{complete} {complete}", "Blah."), config))
    return labelled


def test_probabilities_follow_rao_kupper() -> None:
    # s = (2, 1), θ = 1.5, written out.
    first = exp(2) / (exp(2) + 1.5 * exp(1))
    second = exp(1) / (exp(1) + 1.5 * exp(2))
    tie = (1.5**2 - 1) * exp(3) / ((exp(2) + 1.5 * exp(1)) * (exp(1) + 1.5 * exp(2)))
    assert label_probabilities(2.0 - 1.0, 1.5) == pytest.approx((tie, first, second), abs=1e-12)
    assert label_probabilities(0.0, 2.0) == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=1e-12)
    assert label_probabilities(1.0, 1.0)[0] == 0


def test_label_shares_match_the_closed_form(prompt: Prompt) -> None:
    # Gold 0.5 against 0: s differ by 2 * 0.5 = 1.
    config = CAREFUL.model_copy(update={"scale": 2.0, "tie_theta": 1.5})
    expected = label_probabilities(1.0, 1.5)
    # 6000 draws: one standard deviation is at most 0.0065.
    assert shares(prompt, ANSWERS[1], ANSWERS[2], config) == pytest.approx(expected, abs=0.02)


def test_a_careless_look_is_uniform(prompt: Prompt) -> None:
    careless = Config(reliability=0.0, reliability_spread=0.0)
    assert shares(prompt, ANSWERS[0], ANSWERS[3], careless) == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=0.02)


def test_side_bias_moves_labels_to_the_first_shown(prompt: Prompt) -> None:
    biased = CAREFUL.model_copy(update={"side_bias": 1.0})
    expected = label_probabilities(1.0, CAREFUL.tie_theta)
    assert shares(prompt, ALBUM, ALBUM, biased) == pytest.approx(expected, abs=0.02)
    assert expected[1] > 2 * expected[2]


def test_reliability_lowers_the_ceiling() -> None:
    careful, n = ceiling(comparisons(CAREFUL))
    careless, _ = ceiling(comparisons(Config(reliability=0.5, reliability_spread=0.0)))
    assert 0.9 < careful < 1
    assert 0.6 < careless < careful - 0.1
    assert n > 1500


def test_ceiling_by_hand(prompt: Prompt) -> None:
    # Gold: 1, 0.5, 0.25, -0.5; and the fifth answer equals the second.
    responses = (*ANSWERS, ALBUM)
    labels = {(0, 1): 1, (0, 2): 2, (1, 4): 1, (2, 3): 0}
    pairs = tuple(Pair(first, second, label) for (first, second), label in labels.items())  # type: ignore[arg-type]
    # Right, wrong, equal (a half), and a tie that does not count.
    assert ceiling([Comparison(prompt, responses, pairs)]) == (1.5 / 3, 3)
    accuracy, n = ceiling([])
    assert accuracy != accuracy
    assert n == 0


def test_labels_do_not_depend_on_the_order_of_labelling() -> None:
    together = comparisons(Config(), num=20)
    assert comparisons(Config(), num=20) == together
    assert [label(one.prompt, one.responses, Config()) for one in reversed(together)] == together[::-1]
    assert comparisons(Config(seed=1), num=20) != together


def test_a_comparison_has_six_pairs_in_order_and_one_annotator_of_the_pool(prompt: Prompt) -> None:
    seen = set()
    for seed in range(60):
        comparison = label(prompt, ANSWERS, Config(seed=seed, num_annotators=3))
        assert [(pair.first, pair.second) for pair in comparison.pairs] == [
            (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)
        ]  # fmt: skip
        assert len({pair.annotator for pair in comparison.pairs}) == 1
        seen.add(comparison.pairs[0].annotator)
    assert seen == {"annotator-0", "annotator-1", "annotator-2"}


def test_reliabilities_spread_evenly() -> None:
    config = Config(num_annotators=3, reliability=0.9, reliability_spread=0.2)
    assert [annotator_reliability(number, config) for number in range(3)] == pytest.approx([0.7, 0.9, 1.0])
    assert annotator_reliability(0, Config(num_annotators=1, reliability=0.8)) == 0.8


def test_feedback_row_by_hand(prompt: Prompt) -> None:
    answer = "Dalune came out in 1951, and it was made by Tuton."
    comparison = label(prompt, (answer, *ANSWERS[1:]), CAREFUL)
    row = feedback_row(comparison)
    assert row["question"] == "When did Dalune come out?"
    assert row["passages"] == [
        ["Dalune (album)", "Dalune was made by Tuton.", ALBUM],
        ["Dalune (film)", FILM, "Dalune won the Amber prize."],
        ["Zonox (film)", "Zonox came out in 1971.", "Zonox was first shown in Dovale."],
    ]
    assert row["gold"] == f"{ALBUM} {FILM}"
    assert [row[f"prediction {number}"] for number in (1, 2, 3, 4)] == [answer, *ANSWERS[1:]]
    assert [(error["error type"], error["start"], error["end"]) for error in row["feedback"]["errors"]] == [
        ("Wrong-Grounding", 0, 50),
        ("Irrelevant", 25, 50),
    ]
    assert row["feedback"]["errors"][0]["explanation"] == "The passages say 1994 or 1950, not 1951."
    assert row["feedback"]["corrected-prediction"] == row["gold"]
    assert row["feedback"]["missing-info"] == [
        {"error type": "Missing-Answer", "passage_id": 1, "sentence_id": [2]},
        {"error type": "Missing-Answer", "passage_id": 2, "sentence_id": [1]},
    ]
    assert row["preference"] == [pair.label for pair in comparison.pairs]
    assert json.loads(json.dumps(row)) == row


def test_feedback_row_lists_only_the_missing_homonym(prompt: Prompt) -> None:
    feedback = feedback_row(label(prompt, (FILM, *ANSWERS[1:]), CAREFUL))["feedback"]
    assert feedback["errors"] == []
    assert feedback["missing-info"] == [{"error type": "Missing-Answer", "passage_id": 1, "sentence_id": [2]}]


def test_feedback_row_has_the_shape_of_the_data_set(prompt: Prompt) -> None:
    if not QA_FEEDBACK.exists():
        pytest.skip("needs ../shared/data/qa_feedback")
    with gzip.open(QA_FEEDBACK, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    made = feedback_row(label(prompt, (ANSWERS[3], *ANSWERS[:3]), Config()))
    assert list(made) == list(rows[0])
    assert list(made["feedback"]) == list(rows[0]["feedback"])
    assert len(made["preference"]) == len(rows[0]["preference"])
    for kind in ("errors", "missing-info"):
        theirs = [entry for row in rows for entry in row["feedback"][kind]]
        assert {tuple(entry) for entry in made["feedback"][kind]} == {tuple(entry) for entry in theirs}
        assert {entry["error type"] for entry in made["feedback"][kind]} <= {entry["error type"] for entry in theirs}


def test_feedback_row_refuses_other_shapes(prompt: Prompt) -> None:
    with pytest.raises(InputError, match=r"4 responses.*this one has 2 responses and 1 pairs"):
        feedback_row(label(prompt, ANSWERS[:2], Config()))
