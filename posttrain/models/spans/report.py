"""What is written beside a span reward model: how good it was on held-out spans, and what RL normalises with."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from posttrain.durable_files import replace_text
from posttrain.errors import InputError
from posttrain.settings import Settings

SPAN_STATISTICS_FILE = "span_statistics.json"


class ClassReport(Settings):
    """None where nothing was found, or nothing is there to be found."""

    num_spans: int
    precision: float | None
    recall: float | None
    f1: float | None


class Moments(Settings):
    mean: float
    std: float


class SpanReport(Settings):
    """`expected` and `likeliest` are the moments of the rewards of held-out spans, which RL normalises with."""

    num_responses: int
    num_spans: int
    accuracy: float
    majority_accuracy: float  # of saying the most frequent class of these spans each time
    macro_f1: float  # mean over the classes that are there
    majority_macro_f1: float
    calibration_error: float
    classes: dict[str, ClassReport]
    expected: Moments
    likeliest: Moments


def write_span_report(folder: Path, report: SpanReport) -> None:
    replace_text(folder / SPAN_STATISTICS_FILE, report.model_dump_json(indent=1) + "\n")


def read_span_report(folder: Path) -> SpanReport:
    path = folder / SPAN_STATISTICS_FILE
    if not path.exists():
        raise InputError(f"{path}: missing; train the span reward model again, which writes it")
    try:
        return SpanReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{path}: damaged ({error.errors()[0]['msg']}); train the reward model again") from error


def lines_of(report: SpanReport) -> Mapping[str, str]:
    """For a log: a line a class, and one on the whole."""

    def shown(share: float | None) -> str:
        return "none" if share is None else f"{share:.3f}"

    lines = {
        name: f"{it.num_spans} spans, precision {shown(it.precision)}, recall {shown(it.recall)}, F1 {shown(it.f1)}"
        for name, it in report.classes.items()
    }
    whole = (
        f"accuracy {report.accuracy:.3f} (always the most frequent class: {report.majority_accuracy:.3f}), macro F1 "
        f"{report.macro_f1:.3f} ({report.majority_macro_f1:.3f}), calibration error {report.calibration_error:.3f}"
    )
    return lines | {"held-out spans": whole}
