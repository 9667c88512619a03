"""The parts of a sweep that all points share: trained models, comparisons, and samples of the SFT model."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posttrain import durable_files
from posttrain.assembly.parts import load_frozen
from posttrain.data.agreement import agreement
from posttrain.data.collate import prompt_of
from posttrain.data.jsonl import read_rows, write_rows
from posttrain.data.records import Comparison, Demonstration
from posttrain.data.sources import demonstration_jsonl, preference_jsonl
from posttrain.errors import InputError
from posttrain.evaluation.measures import repetition
from posttrain.figures.run_folder import read_metrics
from posttrain.frontier.measuring import Bench
from posttrain.frontier.plan import Plan
from posttrain.frontier.settings import FrontierConfig
from posttrain.functional.response_statistics import repeated_share
from posttrain.studies.measuring import build_reward, prompt_rows, prompts_from, sampled
from posttrain.studies.parts import PlannedRun, finish, finished
from posttrain.studies.study import train_model
from posttrain.worlds.reviews import annotators


def make_model(planned: PlannedRun) -> dict[str, Any]:
    """A shared run, with the last of each of its evaluation metrics."""
    found = finished(planned.place.folder, planned.place.mark)
    if found is None:
        _, seconds = train_model(planned)
        curves = read_metrics(planned.place.folder / "metrics.jsonl")
        last = {name: points[-1][1] for name, points in curves.items() if name.startswith("eval/")}
        found = finish(planned.place.folder, planned.place.mark, seconds, {"metrics": last})
    return found


def make_preferences(config: FrontierConfig, plan: Plan) -> dict[str, Any]:
    """Comparisons of samples of the SFT model, and how often the gold reward itself agrees with the held-out ones."""
    folder, mark = plan.preferences.folder, plan.preferences.mark
    found = finished(folder, mark)
    if found is not None:
        return found
    started = time.perf_counter()
    model, start = load_frozen(str(plan.runs["sft"].place.folder / "model"))
    records = prompts_from(config.labels.prompts, "labels.prompts")
    rows = prompt_rows(records, start, config.sft.data, "labels.prompts", config.max_new_tokens)
    num_held_out, k = config.labels.num_held_out, config.labels.samples_per_prompt
    if num_held_out >= len(rows):
        raise InputError(f"labels.num_held_out: {num_held_out} of {len(rows)} prompts leave none to learn from")
    gold = build_reward(plan.gold, "gold", start)
    texts: list[str] = []
    scores: list[float] = []
    for rollout in sampled(model, start, rows, k, config.max_new_tokens, config.seed):
        texts += rollout.texts
        scores += gold(rollout).totals().tolist()
    groups = [slice(i * k, (i + 1) * k) for i in range(len(rows))]
    comparisons = [
        annotators.label(prompt_of(row.record), texts[group], scores[group], config.labels.annotators)
        for row, group in zip(rows, groups, strict=True)
    ]
    _write_comparisons(folder, comparisons[:-num_held_out], comparisons[-num_held_out:])
    ceiling, num_pairs = agreement(comparisons[-num_held_out:], [scores[group] for group in groups[-num_held_out:]])
    labels = [pair.label for comparison in comparisons for pair in comparison.pairs]
    facts = {"ceiling": ceiling, "num_held_out_pairs": num_pairs, "num_pairs": len(labels),
             "tie_share": labels.count(0) / len(labels)}  # fmt: skip
    return finish(folder, mark, time.perf_counter() - started, facts)


def _write_comparisons(folder: Path, train: Sequence[Comparison], held_out: Sequence[Comparison]) -> None:
    preferred = [
        Demonstration(comparison.prompt, comparison.responses[best])
        for comparison in train
        if (best := annotators.most_preferred(comparison)) is not None and comparison.responses[best]
    ]
    with durable_files.faults_named(folder, "make room, then run the same command again"):
        folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "train.jsonl", [preference_jsonl.to_row(it) for it in train])
    write_rows(folder / "evaluation.jsonl", [preference_jsonl.to_row(it) for it in held_out])
    write_rows(folder / "preferred.jsonl", [demonstration_jsonl.to_row(it) for it in preferred])


class Samples:
    """Responses of the SFT model to the held-out prompts: [P, N] of each number that best-of-n is measured by."""

    def __init__(self, folder: Path) -> None:
        rows = [row for _, row in read_rows(folder / "samples.jsonl")]
        self.gold, self.learned, self.length, self.cut_share = (
            np.array([row[name] for row in rows], dtype=np.float64)
            for name in ("gold", "learned", "length", "cut_share")
        )
        size = repetition.Config().ngram_size
        self.repetition = np.array(
            [[repeated_share(text.lower().split(), size) for text in row["responses"]] for row in rows]
        )


def make_samples(bench: Bench) -> tuple[Samples, float]:
    """The samples, and the seconds that they took."""
    place, config = bench.plan.samples, bench.config
    found = finished(place.folder, place.mark)
    if found is None:
        started = time.perf_counter()
        with durable_files.faults_named(place.folder, "make room, then run the same command again"):
            place.folder.mkdir(parents=True, exist_ok=True)
        n, rows = config.measuring.num_samples, iter(bench.rows)
        written = []
        for rollout in sampled(bench.sft, bench.start, bench.rows, n, config.max_new_tokens, config.seed):
            scores = {name: reward(rollout).totals().tolist() for name, reward in bench.rewards.items()}
            scores |= {"length": rollout.sequences.lengths.tolist(), "cut_share": rollout.is_cut.float().tolist()}
            for first in range(0, len(rollout), n):
                group = slice(first, first + n)
                row = {"prompt": prompt_of(next(rows).record).text, "responses": list(rollout.texts[group])}
                written.append(row | {name: values[group] for name, values in scores.items()})
        write_rows(place.folder / "samples.jsonl", written)
        found = finish(place.folder, place.mark, time.perf_counter() - started, {})
    return Samples(place.folder), found["seconds"]
