"""What both kinds of reward models learn from: the same answers, compared as wholes, and judged span by span."""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from posttrain.data.agreement import agreement
from posttrain.data.jsonl import write_rows
from posttrain.data.records import Comparison, Pair, Prompt, SpanError, SpanJudgement
from posttrain.data.sources import preference_jsonl, span_jsonl
from posttrain.worlds.grounded_qa import annotators
from posttrain.worlds.grounded_qa.truth import Truth, gold, judge

Score = Callable[[Prompt, str], float]

PARTS: dict[str, Callable[[Truth], float]] = {
    "gold": lambda truth: truth.reward,
    "completeness": lambda truth: truth.completeness,
    "factuality": lambda truth: truth.factuality_reward,
    "relevance": lambda truth: truth.relevance_reward,
}
"""The true reward and its three parts, of which it is the sum. The last two are minus the share of bad spans."""


def write_labels(
    folder: Path, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], num_held_out: int, seed: int
) -> dict[str, Any]:
    """NAME_train.jsonl by noisy annotators, and NAME_evaluation.jsonl of the last prompts with the truth itself.

    How often the annotators agree with the truth is returned: of the decided pairs, and of the spans.
    """
    settings = annotators.Config(seed=seed)
    both = list(zip(prompts, answers, strict=True))
    train, held_out = both[:-num_held_out], both[-num_held_out:]
    facts: dict[str, Any] = {"num_prompts": len(train), "num_held_out": num_held_out}
    for name, score in (("overall", gold), ("completeness", annotators.completeness)):
        compared = [annotators.label(prompt, texts, settings, score) for prompt, texts in train]
        facts[f"agreement/{name}"], _ = agreement(compared, [[score(p, t) for t in texts] for p, texts in train])
        write_rows(folder / f"{name}_train.jsonl", [preference_jsonl.to_row(it) for it in compared])
        true = [true_comparison(prompt, texts, score) for prompt, texts in held_out]
        write_rows(folder / f"{name}_evaluation.jsonl", [preference_jsonl.to_row(it) for it in true])
    marked = [annotators.mark(prompt, texts, settings) for prompt, texts in train]
    facts["num_errors"] = sum(len(errors) for it in marked for errors in it.errors)
    write_rows(folder / "spans_train.jsonl", [span_jsonl.to_row(it) for it in marked])
    write_rows(folder / "spans_evaluation.jsonl", [span_jsonl.to_row(true_spans(p, texts)) for p, texts in held_out])
    return facts


def held_out_answers(folder: Path) -> list[tuple[Prompt, tuple[str, ...]]]:
    """The prompts and answers that nothing was trained on."""
    config = span_jsonl.Config(path=folder / "spans_evaluation.jsonl", should_allow_empty=True)
    return [(it.prompt, it.responses) for it in span_jsonl.load(config)]


def true_comparison(prompt: Prompt, answers: Sequence[str], score: Score) -> Comparison:
    """Equal scores are ties."""
    scores = [score(prompt, text) for text in answers]
    pairs = tuple(
        Pair(i, j, 0 if scores[i] == scores[j] else 1 if scores[i] > scores[j] else 2)
        for i, j in combinations(range(len(answers)), 2)
    )
    return Comparison(prompt, tuple(answers), pairs)


def true_spans(prompt: Prompt, answers: Sequence[str]) -> SpanJudgement:
    errors = []
    for text in answers:
        truth = judge(prompt, text)
        spans = (*truth.factuality, *truth.relevance)
        errors.append(tuple(SpanError(it.start, it.end, it.error) for it in spans if it.error is not None))
    return SpanJudgement(prompt, tuple(answers), tuple(errors))
