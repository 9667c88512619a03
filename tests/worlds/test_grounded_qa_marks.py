"""The errors that simulated annotators mark: the truth when they look carefully, its opposite when they do not."""

from math import sqrt

import pytest

from posttrain.data.records import Prompt, SpanError
from posttrain.errors import InputError
from posttrain.worlds.grounded_qa import Config as SourceConfig
from posttrain.worlds.grounded_qa import load
from posttrain.worlds.grounded_qa.annotators import Config, annotator_reliability, completeness, label, mark
from posttrain.worlds.grounded_qa.truth import FACTUALITY_ERRORS, RELEVANCE_ERRORS, judge

CAREFUL = Config(reliability=1.0, reliability_spread=0.0)
ANSWERS = (
    "Dalune came out in 1951, and it was made by Tuton. Dalune came out in 1994.",
    "Blah. Dalune came out in 1994. Dalune came out in 1994.",
    "",
    "Dalune came out in 1994. Dalune came out in 1950.",
)


def true_errors(prompt: Prompt, answer: str) -> tuple[SpanError, ...]:
    truth = judge(prompt, answer)
    return tuple(SpanError(it.start, it.end, it.error) for it in (*truth.factuality, *truth.relevance) if it.error)


def test_who_looks_carefully_marks_the_truth(prompt: Prompt) -> None:
    marked = mark(prompt, ANSWERS, CAREFUL)
    assert (marked.prompt, marked.responses) == (prompt, ANSWERS)
    assert marked.errors == (
        (SpanError(0, 50, "Wrong-Grounding"), SpanError(25, 50, "Irrelevant")),
        (SpanError(0, 5, "Incoherent"), SpanError(31, 55, "Redundant")),
        (),
        (),
    )
    assert marked.errors == tuple(true_errors(prompt, answer) for answer in ANSWERS)


def test_who_never_looks_marks_the_opposite(prompt: Prompt) -> None:
    careless = Config(reliability=0.0, reliability_spread=0.0)
    for seed in range(40):
        marked = mark(prompt, ANSWERS, careless.model_copy(update={"seed": seed}))
        for answer, errors in zip(ANSWERS, marked.errors, strict=True):
            truth = judge(prompt, answer)
            good = [(it.start, it.end, kinds) for spans, kinds in
                    ((truth.factuality, FACTUALITY_ERRORS), (truth.relevance, RELEVANCE_ERRORS))
                    for it in spans if it.error is None]  # fmt: skip
            assert [(it.start, it.end) for it in errors] == [(start, end) for start, end, _ in good]
            assert all(it.kind in kinds for it, (_, _, kinds) in zip(errors, good, strict=True))


@pytest.mark.parametrize("reliability", [0.95, 0.7])
def test_looks_are_careless_as_often_as_said(prompt: Prompt, reliability: float) -> None:
    """Of 2000 answers, how many spans are seen as what they are not; within four standard deviations."""
    config = Config(reliability=reliability, reliability_spread=0.0)
    num, missed, invented, kinds = 2000, 0, 0, dict.fromkeys(RELEVANCE_ERRORS, 0)
    for seed in range(num):
        (errors,) = mark(prompt, ANSWERS[:1], config.model_copy(update={"seed": seed})).errors
        places = {(it.start, it.end, it.kind in FACTUALITY_ERRORS) for it in errors}
        missed += (0, 50, True) not in places
        missed += (25, 50, False) not in places
        invented += (51, 75, True) in places
        made_up = [it.kind for it in errors if (it.start, it.end) in ((0, 24), (51, 75)) and it.kind in kinds]
        invented += len(made_up)
        for kind in made_up:
            kinds[kind] += 1
    rate = 1 - reliability
    for found, looks in ((missed, 2 * num), (invented, 3 * num)):
        assert abs(found / looks - rate) < 4 * sqrt(rate * reliability / looks)
    total = sum(kinds.values())
    for found in kinds.values():
        assert abs(found / total - 1 / 3) < 4 * sqrt(2 / 9 / total)


def test_the_annotators_of_the_pool_differ_in_care(prompt: Prompt) -> None:
    """One never errs and one always does: an answer is marked by one of them, and both get their share."""
    config = Config(num_annotators=2, reliability=0.5, reliability_spread=0.5)
    assert [annotator_reliability(number, config) for number in range(2)] == [0, 1]
    careful = 0
    for seed in range(400):
        (errors,) = mark(prompt, ANSWERS[:1], config.model_copy(update={"seed": seed})).errors
        is_careful = errors == true_errors(prompt, ANSWERS[0])
        assert is_careful or not set(errors) & set(true_errors(prompt, ANSWERS[0]))
        careful += is_careful
    assert abs(careful / 400 - 0.5) < 4 * sqrt(0.25 / 400)


def test_marks_depend_on_the_seed_the_prompt_and_the_answer_only(prompt: Prompt) -> None:
    noisy = Config(reliability=0.6)
    prompts = [it for it in load(SourceConfig(split="prompts", num=20)) if isinstance(it, Prompt)]
    together = [mark(it, (it.references[0], "Blah."), noisy) for it in prompts]
    assert [mark(it, (it.references[0], "Blah."), noisy) for it in reversed(prompts)] == together[::-1]
    turned = [mark(it, ("Blah.", it.references[0]), noisy) for it in prompts]
    assert [it.errors for it in turned] == [it.errors[::-1] for it in together], "each answer by itself"
    assert [mark(it, (it.references[0], "Blah."), noisy.model_copy(update={"seed": 1})) for it in prompts] != together
    assert len({it.errors for it in together}) > 2


def test_completeness_is_compared_by_itself(prompt: Prompt) -> None:
    complete, half, wrong = ANSWERS[3], ANSWERS[0], "Blah."
    assert [completeness(prompt, answer) for answer in (complete, half, wrong)] == [1, 0.5, 0]
    sure = CAREFUL.model_copy(update={"scale": 100.0, "tie_theta": 1.0})
    comparison = label(prompt, (half, complete), sure, completeness)
    assert [pair.label for pair in comparison.pairs] == [2]
    # By the whole truth a short answer beats a longer one that says as much and errs; by completeness they tie.
    tie = CAREFUL.model_copy(update={"scale": 100.0, "tie_theta": 1e30})
    assert label(prompt, ("Dalune came out in 1994.", half), tie, completeness).pairs[0].label == 0
    assert label(prompt, ("Dalune came out in 1994.", half), sure).pairs[0].label == 1


def test_a_prompt_of_another_world_is_refused() -> None:
    with pytest.raises(InputError, match=r"worlds/grounded_qa"):
        mark(Prompt("who?"), ("Ann.",), CAREFUL)
