"""Labels of the study: noisy ones to learn from, the truth to measure by."""

from pathlib import Path

import pytest

from posttrain.data.records import Prompt
from posttrain.data.sources import preference_jsonl, span_jsonl
from posttrain.reproduce.fine_grained_labels import PARTS, held_out_answers, true_comparison, true_spans, write_labels
from posttrain.worlds.grounded_qa import Config, annotators, load
from posttrain.worlds.grounded_qa.truth import gold, judge


def drawn(num: int) -> list[Prompt]:
    return [prompt for prompt in load(Config(split="prompts", num=num, seed=5)) if isinstance(prompt, Prompt)]


def test_the_parts_sum_to_the_true_reward():
    prompt = drawn(1)[0]
    for answer in (prompt.references[0], "", "nonsense, and more nonsense.", prompt.references[0] * 2):
        truth = judge(prompt, answer)
        parts = [PARTS[name](truth) for name in ("completeness", "factuality", "relevance")]
        assert sum(parts) == pytest.approx(PARTS["gold"](truth)) == pytest.approx(gold(prompt, answer))


def test_true_comparisons_follow_the_score_and_tie_where_it_is_equal():
    prompt = drawn(1)[0]
    best = prompt.references[0]
    pairs = true_comparison(prompt, ("nonsense.", best, best), gold).pairs
    assert [(pair.first, pair.second, pair.label) for pair in pairs] == [(0, 1, 2), (0, 2, 2), (1, 2, 0)]
    assert annotators.completeness(prompt, best) == 1.0


def test_true_spans_mark_what_is_wrong_and_nothing_else():
    prompt = drawn(1)[0]
    best = prompt.references[0]
    good, bad = true_spans(prompt, (best, f"{best} nonsense.")).errors
    assert good == ()
    assert [(f"{best} nonsense."[it.start : it.end], it.kind) for it in bad] == [("nonsense.", "Incoherent")]


def test_training_labels_are_noisy_and_held_out_ones_true(tmp_path: Path):
    prompts = drawn(60)
    answers = [(prompt.references[0], "nonsense.", f"{prompt.references[0]} nonsense.", "") for prompt in prompts]
    facts = write_labels(tmp_path, prompts, answers, 10, 0)
    assert (facts["num_prompts"], facts["num_held_out"]) == (50, 10)
    assert 0.9 < facts["agreement/overall"] < 1.0
    config = preference_jsonl.Config(path=tmp_path / "overall_evaluation.jsonl", should_allow_empty=True)
    for comparison in preference_jsonl.load(config):
        assert comparison == true_comparison(comparison.prompt, comparison.responses, gold)
    marked = span_jsonl.load(span_jsonl.Config(path=tmp_path / "spans_train.jsonl", should_allow_empty=True))
    wrong = sum(it.errors != true_spans(it.prompt, it.responses).errors for it in marked)
    assert 0 < wrong < len(marked)
    assert [(prompt.text, texts) for prompt, texts in held_out_answers(tmp_path)] == [
        (prompt.text, tuple(texts)) for prompt, texts in zip(prompts[-10:], answers[-10:], strict=True)
    ]
