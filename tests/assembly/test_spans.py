"""What a run makes of its judged spans before it begins, and what it refuses."""

import logging
from typing import Any

import pytest
import torch

from posttrain.algorithms import span_reward_model
from posttrain.assembly.records import RECORD_TYPES, load_records
from posttrain.assembly.sections import check_sections
from posttrain.assembly.spans import SpanData, span_data
from posttrain.config import RunConfig, parse
from posttrain.data.collate import Encoder, Tokenized, tokenize
from posttrain.data.jsonl import write_rows
from posttrain.data.records import Prompt, SpanError, SpanJudgement
from posttrain.errors import InputError
from tests.tiny_models import word_tokenizer

ALGORITHM = {"name": "span_reward_model", "segments": "sentence", "classes": [{"name": "wrong", "kinds": ["w"]}]}
SOURCE = {"source": "span_jsonl", "path": "x.jsonl"}


def config_of(algorithm: dict[str, Any], **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": {"path": "a/b"}, "algorithm": algorithm,
        "data": {"train": SOURCE, "evaluation": SOURCE, "max_prompt_tokens": 9, "max_response_tokens": 9},
        "training": {"num_steps": 1, "batch_size": 1, "learning_rate": 0.1},
    }  # fmt: skip
    return parse(values | changes, "run.yaml")


def rows(num_good: int, num_bad: int, limit: int = 20) -> list[Tokenized]:
    """One response a sentence; the bad ones are wrong."""
    records = [
        SpanJudgement(Prompt("be"), ("aa be. ci do.",), ((SpanError(0, 6, "w"),) if i < num_bad else (),))
        for i in range(num_good + num_bad)
    ]
    return tokenize(records, Encoder(word_tokenizer(False), False, 20, limit, response_truncation="right"), "test")


def data_of(algorithm: dict[str, Any], num_good: int = 6, num_bad: int = 2, limit: int = 20) -> SpanData:
    return span_data(config_of(algorithm), rows(num_good, num_bad, limit), rows(3, 1))


def test_classes_count_the_same_without_weights():
    assert data_of(ALGORITHM).class_weights == (1.0, 1.0)


def test_balanced_weights_by_hand():
    """14 good spans and 2 wrong ones: 16 / (2 · 14) and 16 / (2 · 2)."""
    made = data_of(ALGORITHM | {"class_weights": "balanced"})
    assert made.class_weights == pytest.approx((16 / 28, 4.0))
    total = 14 * made.class_weights[0], 2 * made.class_weights[1]
    assert total == pytest.approx((8, 8)), "each class weighs the same in all"
    batch = made.collator(is_evaluation=False)([0, 7])
    assert batch.weight[batch.label == 1].tolist() == [4.0]
    assert batch.weight[batch.label == 0].tolist() == pytest.approx([16 / 28] * 3)
    held_out = made.collator(is_evaluation=True)([0, 1, 2, 3])
    assert held_out.weight[held_out.label == 1].tolist() == [4.0], "the weights of what was trained on"
    assert (held_out.label == 1).any(1).tolist() == [True, False, False, False]


def test_a_class_that_no_span_has_weighs_1():
    """Its errors lie behind the cut of the responses."""
    late = [SpanJudgement(Prompt("be"), ("aa be. ci do.",), ((SpanError(7, 13, "w"),),))]
    encoder = Encoder(word_tokenizer(False), False, 9, 2, response_truncation="right")
    train = tokenize(late, encoder, "test")
    made = span_data(config_of(ALGORITHM | {"class_weights": "balanced"}), train, rows(1, 1))
    assert made.class_weights == (0.5, 1.0)


def test_it_says_how_many_spans_of_each_class_there_are(caplog):
    with caplog.at_level(logging.INFO):
        data_of(ALGORITHM, limit=3)
    assert caplog.messages == [
        "data.train: 8 responses, spans: 6 good, 2 wrong; 8 spans are behind the cut of their response and left out",
        "data.evaluation: 4 responses, spans: 7 good, 1 wrong",
    ]


def test_nothing_to_judge_is_refused():
    with pytest.raises(InputError, match=r"data\.train: no span is left to judge; set algorithm"):
        data_of(ALGORITHM, limit=1)
    with pytest.raises(InputError, match=r"data\.evaluation: no span is left to judge"):
        span_data(config_of(ALGORITHM), rows(1, 1), rows(1, 1, limit=1))
    with pytest.raises(InputError, match=r"data\.train: no span is left to judge"):
        data_of(ALGORITHM | {"pattern": "zz"})
    with pytest.raises(InputError, match=r"data\.train has no error of the kinds of class wrong \(w\)"):
        data_of(ALGORITHM, num_bad=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": []}, r"run\.yaml: algorithm\.classes: .*at least 1 item"),
        ({"classes": [{"name": "x", "kinds": []}]}, r"algorithm\.classes\.0\.kinds: .*at least 1 item"),
        ({"classes": [{"kinds": ["a"]}, {"kinds": ["b"]}]}, r"algorithm: .*the name bad is given twice"),
        ({"classes": [{"kinds": ["a", "a"]}]}, r"algorithm: .*the kind of error a is given twice"),
        ({"pattern": "(["}, r"algorithm: .*pattern: '\(\[' is no regular expression \(.*\); correct it"),
        ({"segments": "sentences"}, r"algorithm\.segments should be 'whole', 'sentence' or 'sub_sentence'"),
        ({"class_weights": "equal"}, r"algorithm\.class_weights should be 'none' or 'balanced'"),
        ({"good_value": "high"}, r"algorithm\.good_value"),
        ({"clases": []}, r"algorithm\.clases is not a setting; did you mean classes"),
    ],
)
def test_faults_of_the_configuration_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        config_of(ALGORITHM | changes)


def test_classes_have_to_be_given():
    with pytest.raises(InputError, match=r"algorithm\.classes is missing"):
        config_of({"name": "span_reward_model"})


def test_sections_of_a_reward_model_of_spans():
    check_sections(config_of(ALGORITHM), span_reward_model.CONSUMES)
    no_evaluation = {"train": SOURCE, "max_prompt_tokens": 9, "max_response_tokens": 9}
    with pytest.raises(InputError, match=r"data\.evaluation: missing.*held-out records"):
        check_sections(config_of(ALGORITHM, data=no_evaluation), span_reward_model.CONSUMES)
    with pytest.raises(InputError, match=r"algorithm span_reward_model learns from records; leave these sections out"):
        check_sections(config_of(ALGORITHM, rollout={"engine": "in_process"}), span_reward_model.CONSUMES)


def test_records_of_spans_are_prompts_to_methods_that_sample(tmp_path):
    row = {"prompt": "p", "response": "ab", "errors": [], "facts": {"a": 1}}
    write_rows(tmp_path / "x.jsonl", [row])
    source = {"source": "span_jsonl", "path": str(tmp_path / "x.jsonl")}
    choice = config_of(ALGORITHM, data={"train": source, "max_prompt_tokens": 9, "max_response_tokens": 9}).data.train
    assert load_records(choice, "data.train", "rollouts") == [Prompt("p", facts={"a": 1})]
    (record,) = load_records(choice, "data.train", "span_judgements")
    assert isinstance(record, SpanJudgement)
    for consumes in set(RECORD_TYPES) - {"rollouts", "span_judgements"}:
        with pytest.raises(InputError, match="gives SpanJudgement records; the algorithm needs"):
            load_records(choice, "data.train", consumes)
    plain = config_of(ALGORITHM, data={
        "train": {"source": "demonstration_jsonl", "path": str(tmp_path / "d.jsonl")},
        "max_prompt_tokens": 9, "max_response_tokens": 9,
    }).data.train  # fmt: skip
    write_rows(tmp_path / "d.jsonl", [{"prompt": "p", "response": "ab"}])
    with pytest.raises(InputError, match="gives Demonstration records; the algorithm needs SpanJudgement"):
        load_records(plain, "data.train", "span_judgements")


def test_weights_stand_in_the_batch_as_numbers_of_the_loss():
    made = data_of(ALGORITHM | {"class_weights": "balanced"})
    batch = made.collator(is_evaluation=False)(range(8))
    assert batch.weight.dtype == torch.float32
    assert float(batch.weight.sum()) == pytest.approx(16)
    assert not batch.weight[batch.label < 0].any()
