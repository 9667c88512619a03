"""A span reward model learns which pieces of a response are bad, at each density, for either family and pooling."""

import pytest
import torch

from posttrain.algorithms.span_reward_model import Config, SpanRewardModel
from posttrain.data.records import Prompt, SpanError, SpanJudgement
from posttrain.data.span_labels import SpanClass, class_counts, judged_spans, labelled
from posttrain.evaluation.evaluate import loss_metrics
from posttrain.evaluation.span_scores import span_report
from posttrain.models.loading import new_span_scorer
from tests.learning import toys
from tests.tiny_models import ONE_PER_FAMILY

CPU = torch.device("cpu")
WORDS = (toys.GOOD[:6], toys.BAD[:6])
PER_SENTENCE = {"words": 1, "sentence": 2, "whole": 3}  # words of a span
DENSITIES = {"words": {"pattern": r"\w+"}, "sentence": {"segments": "sentence"}, "whole": {"segments": "whole"}}


def judgements(count: int, seed: int, density: str) -> list:
    """The words of a span are all good or all bad; what is beside it, or before it, says nothing of it."""
    generator = torch.Generator().manual_seed(seed)
    records: list = []
    size = PER_SENTENCE[density]
    for prompt in toys.prompts(count, seed):
        text, errors = "", []
        for _ in range(1 if density == "whole" else 3):
            is_bad = bool(torch.randint(0, 2, (), generator=generator))
            words = toys.words(WORDS[1 if is_bad else 0], size, generator)
            start = len(text) + bool(text)
            text = f"{text} {words}".strip() + (" ." if density == "sentence" else "")
            if is_bad:
                errors.append(SpanError(start, start + len(words), "bad"))
        records.append(SpanJudgement(Prompt(prompt.text), (text,), (tuple(errors),)))
    return records


def batches(count: int, seed: int, density: str, config: Config, start, weights=None) -> list:
    rows = labelled(toys.rows_of(judgements(count, seed, density), start), config)
    assert sum(class_counts(rows, 2)) == count * (1 if density == "whole" else 3)
    return [judged_spans(rows[i : i + 32], weights or (1.0, 1.0)) for i in range(0, count, 32)]


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
@pytest.mark.parametrize(
    ("density", "pooling"),
    [("words", "last"), ("sentence", "last"), ("sentence", "mean"), ("whole", "last"),
     pytest.param("words", "mean", marks=pytest.mark.slow), pytest.param("whole", "mean", marks=pytest.mark.slow)],
)  # fmt: skip
def test_it_learns_which_spans_are_bad(name, density, pooling, tmp_path):
    start = toys.start(name)
    config = Config(classes=(SpanClass(kinds=("bad",)),), pooling=pooling, **DENSITIES[density])
    torch.manual_seed(0)
    algorithm = SpanRewardModel(config, new_span_scorer(toys.save(start, tmp_path / "start"), 0.0, config))
    unseen = batches(64, 1, density, config, start)
    before = loss_metrics(algorithm, unseen, CPU)
    toys.train(algorithm, batches(256, 0, density, config, start), learning_rate=0.01, num_epochs=8)
    after = loss_metrics(algorithm, unseen, CPU)
    assert before["accuracy"] < 0.75
    assert after["accuracy"] > 0.95
    assert after["f1/bad"] > 0.95
    assert after["loss"] < 0.3 * before["loss"]
    report = span_report(algorithm.module, unseen, CPU)
    assert report.accuracy == pytest.approx(after["accuracy"])
    assert report.classes["bad"].f1 == pytest.approx(after["f1/bad"])
    assert report.accuracy > report.majority_accuracy + 0.3
