"""What knowing nothing but a span's place in its answer reaches on QA-Feedback: the numbers of docs/qa_feedback.md."""

from collections.abc import Sequence

import pytest

from posttrain.data.segments import Segments
from posttrain.data.sources import qa_feedback
from posttrain.data.span_labels import SpanClass, SpanSettings, span_classes
from tests.data.sources.test_qa_feedback import FOLDER, real_data

NUM_TRAINED_ON = 300
Pairs = list[tuple[bool, bool]]
"""(said to be bad, is bad) of each span."""


def said(rows: Sequence[Sequence[bool]], place: int, is_early_bad: bool) -> Pairs:
    """The rule: spans before `place` are of one class, the others of the other."""
    return [((i < place) == is_early_bad, is_bad) for row in rows for i, is_bad in enumerate(row)]


def accuracy(pairs: Pairs) -> float:
    return sum(guess == is_bad for guess, is_bad in pairs) / len(pairs)


def macro_f1(pairs: Pairs) -> float:
    found = []
    for kind in (False, True):
        right = sum(guess == is_bad == kind for guess, is_bad in pairs)
        found.append(2 * right / max(1, sum(guess == kind for guess, _ in pairs) + sum(b == kind for _, b in pairs)))
    return sum(found) / 2


@real_data
@pytest.mark.parametrize(
    ("segments", "kinds", "rule", "num", "reached"),
    [
        (
            "sub_sentence",
            ("Irrelevant", "Redundant", "Incoherent"),
            (3, False),
            318,
            {accuracy: 0.638, macro_f1: 0.638},
        ),
        ("sentence", ("Wrong-Grounding", "Unverifiable"), (1, True), 170, {accuracy: 0.588, macro_f1: 0.504}),
    ],
)
def test_the_best_rule_by_position(
    segments: Segments, kinds: tuple[str, ...], rule: tuple[int, bool], num: int, reached: dict
):
    settings = SpanSettings(segments=segments, classes=(SpanClass(kinds=kinds),))
    records = qa_feedback.load(qa_feedback.Config(path=FOLDER / "dev_feedback.jsonl.gz", records="span_judgements"))
    rows = [[c > 0 for _, c in span_classes(it.responses[0], it.errors[0], settings)] for it in records]
    trained_on, held_out = rows[:NUM_TRAINED_ON], rows[NUM_TRAINED_ON:]
    rules = [(place, is_early_bad) for place in range(12) for is_early_bad in (False, True)]
    assert max(rules, key=lambda it: macro_f1(said(trained_on, *it))) == rule
    pairs = said(held_out, *rule)
    assert len(pairs) == num
    for measure, value in reached.items():
        assert measure(pairs) == pytest.approx(value, abs=6e-4)
