"""The formats by name: what an export page or a command offers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from posttrain.annotation.formats import (
    arena,
    comparisons,
    qa_feedback,
    responses,
    reward_bench,
    spans,
    tables,
    trl_preferences,
)
from posttrain.annotation.formats.exchange import Exported, Imported
from posttrain.annotation.records import Item, Vote


@dataclass(frozen=True)
class Format:
    title: str
    ending: str
    export: Callable[[Iterable[Item], Iterable[Vote]], Exported]
    read: Callable[[Path | str], Imported]


FORMATS: Mapping[str, Format] = {
    "comparisons": Format(
        "Comparisons, every vote: what `source: preference_jsonl` trains on",
        ".jsonl",
        comparisons.export,
        comparisons.read,
    ),
    "majority": Format(
        "Comparisons, one label of each pair by majority",
        ".jsonl",
        partial(comparisons.export, voices="majority"),
        comparisons.read,
    ),
    "trl": Format("TRL preferences, plain texts", ".jsonl", trl_preferences.export, trl_preferences.read),
    "trl_conversational": Format(
        "TRL preferences, messages",
        ".jsonl",
        partial(trl_preferences.export, form="conversational"),
        trl_preferences.read,
    ),
    "qa_feedback": Format(
        "QA-Feedback: four predictions, six labels, marks", ".jsonl", qa_feedback.export, qa_feedback.read
    ),
    "reward_bench": Format("RewardBench rows", ".jsonl", reward_bench.export, reward_bench.read),
    "arena": Format("Arena battles, one a vote", ".jsonl", arena.export, arena.read),
    "spans": Format("Span judgements", ".jsonl", spans.export, spans.read),
    "table": Format("Every pairwise vote and ranking as a table", ".csv", tables.export, tables.read),
    "responses": Format("Prompts and responses without votes", ".jsonl", responses.export, responses.read),
}
