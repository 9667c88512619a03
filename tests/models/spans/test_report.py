"""What is written beside a span reward model is read again, or named where it is missing or damaged."""

import json

import pytest

from posttrain.errors import InputError
from posttrain.models.spans.report import (
    SPAN_STATISTICS_FILE,
    ClassReport,
    Moments,
    SpanReport,
    lines_of,
    read_span_report,
    write_span_report,
)

REPORT = SpanReport(
    num_responses=3,
    num_spans=8,
    accuracy=0.75,
    majority_accuracy=0.625,
    macro_f1=0.4,
    majority_macro_f1=0.3846,
    calibration_error=0.05,
    classes={
        "good": ClassReport(num_spans=5, precision=0.8, recall=1.0, f1=0.889),
        "wrong": ClassReport(num_spans=3, precision=None, recall=0.0, f1=0.0),
        "dull": ClassReport(num_spans=0, precision=None, recall=None, f1=None),
    },
    expected=Moments(mean=0.1, std=1 / 3),
    likeliest=Moments(mean=0.25, std=0.968),
)


def test_it_is_read_as_it_was_written(tmp_path):
    write_span_report(tmp_path, REPORT)
    assert read_span_report(tmp_path) == REPORT
    assert list(read_span_report(tmp_path).classes) == ["good", "wrong", "dull"]
    assert [path.name for path in tmp_path.iterdir()] == [SPAN_STATISTICS_FILE]


def test_lines_for_a_log():
    assert lines_of(REPORT) == {
        "good": "5 spans, precision 0.800, recall 1.000, F1 0.889",
        "wrong": "3 spans, precision none, recall 0.000, F1 0.000",
        "dull": "0 spans, precision none, recall none, F1 none",
        "held-out spans": "accuracy 0.750 (always the most frequent class: 0.625), macro F1 0.400 (0.385), "
        "calibration error 0.050",
    }


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=rf"{SPAN_STATISTICS_FILE}: missing; train the span reward model again"):
        read_span_report(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        REPORT.model_dump_json()[:-9],
        json.dumps(REPORT.model_dump() | {"more": 1}),
        json.dumps(REPORT.model_dump() | {"expected": {"mean": "x", "std": 1}}),
        json.dumps(REPORT.model_dump() | {"accuracy": None}),
    ],
)
def test_a_damaged_file_is_named(content, tmp_path):
    (tmp_path / SPAN_STATISTICS_FILE).write_text(content)
    with pytest.raises(InputError, match=rf"{SPAN_STATISTICS_FILE}: damaged \(.+\); train the reward model again"):
        read_span_report(tmp_path)
