"""Which characters of an answer each judgement of a reward is for, and the files that say so.

A row of RUN/reward_spans/step_N.jsonl is one answer:

    {"prompt": ..., "output": ..., "rewards": {"relevance": [[0, 31, 0.9], [32, 60, -0.4]], "truth": [[0, 60, 0.5]]}}

A span is [start, end, value], in characters of the output, the end exclusive. Nothing here needs a tensor, so a report
can be made where only the files are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain import durable_files
from posttrain.data.jsonl import read_rows, write_rows
from posttrain.data.lines import Where
from posttrain.errors import InputError

RewardSpan = tuple[int, int, float]
"""Start, end, value."""


@dataclass(frozen=True)
class RewardedAnswer:
    """An answer, and the spans that each reward spoke about, in the order of the tokens that carry them."""

    prompt: str
    output: str
    rewards: Mapping[str, Sequence[RewardSpan]]


def placed(
    values: Sequence[float], mask: Sequence[bool], ends: Sequence[int], text: str, is_cut: bool
) -> list[RewardSpan]:
    """The spans of one row of a reward stream; `ends` are the characters of `text` that are complete at each token.

    A span goes from where the reward spoke before, less white space, to the characters that are complete at its token.
    What stands on the end token, which a response that was cut has none of, is for the whole answer.
    """
    spans: list[RewardSpan] = []
    before = 0
    for column, end in enumerate(ends):
        if not mask[column]:
            continue
        is_whole = column == len(ends) - 1 and not is_cut
        start = 0 if is_whole else end - len(text[before:end].lstrip())
        spans.append((start, end, values[column]))
        before = end
    return spans


def spans_file(run_dir: Path, step: int) -> Path:
    return run_dir / "reward_spans" / f"step_{step}.jsonl"


def write_reward_spans(path: Path, answers: Sequence[RewardedAnswer]) -> None:
    with durable_files.faults_named(path, "make room or restore the permission to write"):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, ({"prompt": it.prompt, "output": it.output, "rewards": it.rewards} for it in answers))


def read_reward_spans(path: Path) -> list[RewardedAnswer]:
    """Raises InputError with `file:line` for a row that is not one, such as one with a value that is no number."""
    return [_answer(row, where) for where, row in read_rows(path)]


def _answer(row: Mapping[str, Any], where: Where) -> RewardedAnswer:
    prompt, output, rewards = (row.get(name) for name in ("prompt", "output", "rewards"))
    if not (isinstance(prompt, str) and isinstance(output, str) and isinstance(rewards, dict)):
        raise where.fault('expected text under "prompt" and "output", and an object under "rewards"')
    for name, spans in rewards.items():
        if not isinstance(spans, list):
            raise where.fault(f"rewards.{name}: expected a list of spans")
    found = {name: [_span(span, name, len(output), where) for span in spans] for name, spans in rewards.items()}
    return RewardedAnswer(prompt, output, found)


def _span(span: Any, name: str, length: int, where: Where) -> RewardSpan:
    fault = f"rewards.{name}: {span!r} is no span [start, end, value]"
    if not (isinstance(span, list) and len(span) == 3):
        raise where.fault(fault)
    start, end, value = span
    if not all(type(place) is int for place in (start, end)) or type(value) not in (int, float):
        raise where.fault(fault)
    if not 0 <= start <= end <= length:
        raise where.fault(f"{fault} within the {length} characters of its output")
    return start, end, float(value)


def spans_of_step(run_dir: Path, step: int, texts: Sequence[tuple[str, str]]) -> list[RewardedAnswer]:
    """What was kept of the evaluation after `step`, which wrote these prompts and answers; [] if nothing was."""
    path = spans_file(run_dir, step)
    if not path.is_file():
        return []
    answers = read_reward_spans(path)
    if [(it.prompt, it.output) for it in answers] != list(texts):
        raise InputError(f"{path}: its answers are not those of generations/{path.name}; delete the older of the two")
    return answers
