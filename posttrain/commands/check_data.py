"""`posttrain data qa_feedback --check DIR`: which of the original files are there, what they hold and what is wrong."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain.data.jsonl import Row, read_rows
from posttrain.data.sources.qa_feedback_faults import faults_of
from posttrain.errors import InputError

ENDINGS = (".json", ".jsonl", ".jsonl.gz")
NUM_SHOWN = 20
"""Faults of a file that are listed one by one; with more, the kinds are counted as well."""


@dataclass(frozen=True)
class Original:
    """A file of the data set; `num_rows` as its authors count them, where that is known."""

    name: str
    needed_for: str
    num_rows: int | None = None

    @property
    def is_feedback(self) -> bool:
        return self.name.endswith("feedback")


ORIGINALS = (
    Original("train_1k", "supervised fine-tuning (sft.yaml)", 1000),
    Original("train", "the questions of PPO (ppo_fine_grained.yaml, ppo_holistic.yaml)", 3853),
    Original("dev", "evaluation while training (sft.yaml, ppo_*.yaml)"),
    Original("test", "the predictions at the end (posttrain sample)", 948),
    Original("train_feedback", "training the reward models (*_rm.yaml)", 2853),
    Original("dev_feedback", "evaluation of the reward models (*_rm.yaml)"),
)


@dataclass
class Checked:
    """What is in one file. `num_rows` counts those that are sound."""

    path: Path
    num_rows: int = 0
    faults: list[InputError] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)


def main(folder: Path) -> None:
    """Print the report. InputError after it, if a file that is there has faults."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one with {ORIGINALS[0].name}.json and the others")
    checked = []
    for original in ORIGINALS:
        paths = [
            folder / (original.name + ending) for ending in ENDINGS if (folder / (original.name + ending)).exists()
        ]
        if not paths:
            print(f"{original.name}: missing; needed for {original.needed_for}")
        for path in paths:
            checked.append(check(path, original.is_feedback))
            print("\n".join(_described(checked[-1], original)))
    known = {original.name + ending for original in ORIGINALS for ending in ENDINGS}
    others = sorted(path.name for path in folder.iterdir() if path.name.endswith(ENDINGS) and path.name not in known)
    if others:
        print(f"also there, and no file of the original: {', '.join(others)}")
    faulty = [each for each in checked if each.faults]
    if faulty:
        num = sum(len(each.faults) for each in faulty)
        names = ", ".join(each.path.name for each in faulty)
        raise InputError(f"{folder}: {num} faults in {names}, listed above; correct these rows or remove them")


def check(path: Path, is_feedback: bool) -> Checked:
    """Read the whole file. What ends the reading, such as a damaged archive, is its last fault."""
    found = Checked(path)
    try:
        for where, row in read_rows(path, found.faults.append):
            faults = faults_of(row, where, is_feedback)
            found.faults += faults
            if not faults:
                found.num_rows += 1
                _count(row, is_feedback, found.counts)
    except InputError as fault:
        found.faults.append(InputError(f"{fault} (what follows was not read)"))
    return found


def _count(row: Row, is_feedback: bool, counts: dict[str, Counter[str]]) -> None:
    def add(name: str, labels: Iterable[object]) -> None:
        counts.setdefault(name, Counter()).update(map(str, labels))

    if not is_feedback:
        add("answers a question", [len(row["answer"])])
        return
    feedback: dict[str, Any] = row["feedback"]
    errors = [error for error in feedback["errors"] if error["end"] > error["start"]]
    add("preference labels (0 tie, 1 first, 2 second better)", row["preference"])
    add("errors of prediction 1", (error["error type"] for error in errors))
    add("rows with such an error", {error["error type"] for error in errors} or {"none"})
    add("missing information of prediction 1", (missing["error type"] for missing in feedback["missing-info"]))
    if len(errors) < len(feedback["errors"]):
        add("marks of no character, which count for nothing", ["errors"] * (len(feedback["errors"]) - len(errors)))


def _described(checked: Checked, original: Original) -> Iterator[str]:
    whole = "" if original.num_rows is None else f" (the original has {original.num_rows:,})"
    yield f"{checked.path.name}: {checked.num_rows:,} sound rows{whole}, for {original.needed_for}"
    for name, counter in checked.counts.items():
        order = sorted(counter.items(), key=lambda each: (-each[1], each[0]))
        yield f"    {name}: {', '.join(f'{label} ({times:,})' for label, times in order)}"
    yield from (f"    {fault}" for fault in checked.faults[:NUM_SHOWN])
    if len(checked.faults) > NUM_SHOWN:
        yield f"    ... and {len(checked.faults) - NUM_SHOWN:,} more; all {len(checked.faults):,} by kind:"
        kinds = Counter(_kind(fault) for fault in checked.faults)
        lines: dict[str, list[str]] = {}
        for fault in checked.faults:
            lines.setdefault(_kind(fault), []).append(_line(fault))
        for kind, times in kinds.most_common():
            some = list(dict.fromkeys(lines[kind]))
            yield f"    {times:,} times (lines {', '.join(some[:8])}{', ...' if len(some) > 8 else ''}): {kind}"


def _line(fault: InputError) -> str:
    found = re.search(r":(\d+): ", str(fault))
    return found.group(1) if found else "?"


def _kind(fault: InputError) -> str:
    """The message without its place, its numbers and what the row has."""
    message = re.sub(r"^.*?:\d+: ", "", str(fault))
    message = re.sub(r"(got|is|label) (\"[^\"]*\"|[\[{].*?[\]}]|-?\d[\d.]*)", r"\1 ...", message)
    return re.sub(r"\d+", "N", message)
