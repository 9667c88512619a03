"""`posttrain evaluate`: a model on the evaluation data of a run's YAML file.

A language model: its loss per token where the records have responses, what its responses are worth by the run's
measures and rewards, and how far it is from the run's reference, where `reference:` names one. A reward model: its
accuracy and its scores of the recorded responses. A span reward model: what each class reaches, and the majority class.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn

from posttrain import config, durable_files, plugins
from posttrain.algorithms import judgement_reward_model, preference_reward_model
from posttrain.algorithms.sft import SFT
from posttrain.assembly.parts import load_frozen
from posttrain.assembly.records import measures_of, tokenized
from posttrain.commands import evaluate_spans
from posttrain.commands.answering import check_output
from posttrain.config import RunConfig
from posttrain.data.agreement import decided
from posttrain.data.collate import Tokenized, judgements, preferences, recorded
from posttrain.data.records import Comparison, Judgement, Record
from posttrain.data.text_columns import TextColumns
from posttrain.errors import InputError, NumericStop
from posttrain.evaluation.evaluate import Generated, generate_and_measure, loss_metrics
from posttrain.evaluation.results import Interval, bootstrap_mean
from posttrain.evaluation.reward_spans import RewardedAnswer, write_reward_spans
from posttrain.interfaces import Algorithm
from posttrain.models.language_model import LanguageModel, kl_per_token
from posttrain.models.loading import Pretrained, load_scorer, locate
from posttrain.models.positions import check_positions
from posttrain.models.scorer import HEAD_FILE, SequenceScorer, TieScorer
from posttrain.training.distributed import start_ranks

BATCH = 32  # records
POSITIONS_REMEDY = "lower data.max_prompt_tokens and data.max_response_tokens and name a policy for what is cut"


@dataclass(frozen=True)
class Found:
    """`overall` are means over all tokens or pairs, as a run logs them; `measures` have one number a record.

    `rewarded` are the responses with the spans that the run's rewards judged; `intervals` are of what no mean over
    records gives.
    """

    overall: Mapping[str, float]
    measures: Mapping[str, list[float]]
    rewarded: Sequence[RewardedAnswer] = ()
    intervals: Mapping[str, Interval] = field(default_factory=dict)


def main(model: str, config_path: Path, out: Path, overrides: Sequence[str] = ()) -> None:
    """Write `out` as JSON: "model", "n" records, "loss", "overall" and "measures" with their 95 % intervals.

    Where the run has rewards, what they say of each span of each response goes into `NAME.reward_spans.jsonl` beside
    `out`, which is `NAME.json`.
    """
    spans_path = out.with_name(f"{out.stem}.reward_spans.jsonl")
    for path in (out, spans_path):
        check_output(path, (config_path,))
    settings = config.load(config_path, overrides)
    records = evaluation_records(settings, config_path)
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    if evaluate_spans.is_span_model(model):
        overall, spans = evaluate_spans.of_span_model(model, settings, records, POSITIONS_REMEDY)
        found = Found(overall, {}, intervals=spans)
    else:
        is_reward_model = (Path(locate(model)) / HEAD_FILE).exists()
        found = (of_reward_model if is_reward_model else of_language_model)(model, settings, records)
    unsound = [name for name, value in found.overall.items() if not math.isfinite(value)]
    if unsound:
        raise NumericStop(f"model {model}: its {unsound[0]} is no finite number")
    means = {name: bootstrap_mean(values, settings.seed) for name, values in found.measures.items()}
    intervals = {**means, **found.intervals}
    overall = dict(found.overall)
    written = {
        "model": model,
        "n": len(records),
        "loss": overall.pop("loss", None),
        "overall": overall,
        "measures": {name: {"mean": it.mean, "low": it.low, "high": it.high} for name, it in intervals.items()},
    }
    with durable_files.faults_named(out, "give another path or make room"):
        out.parent.mkdir(parents=True, exist_ok=True)
        durable_files.replace_text(out, json.dumps(written, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    if found.rewarded:
        write_reward_spans(spans_path, found.rewarded)
    print(f"{out}: {model} on {len(records)} records")
    print_table(found.overall, intervals, Console())


def evaluation_records(settings: RunConfig, config_path: Path) -> list[Record]:
    """All records of data.evaluation, or as many as evaluation.num_examples says."""
    choice = settings.data.evaluation
    if choice is None:
        raise InputError(f"{config_path}: data.evaluation is missing; name the records to evaluate on")
    records = choice.plugin.load(choice.settings)[: settings.evaluation.num_examples]
    if not records:
        raise InputError(f"{config_path}: data.evaluation: source {choice.name} gave no records")
    return records


def of_language_model(path: str, settings: RunConfig, records: Sequence[Record]) -> Found:
    model, start = load_frozen(path)
    rows = tokenized(records, start, settings.data, "data.evaluation")
    _check_recorded(start, rows)
    device = next(model.parameters()).device
    has_responses = all(row.responses for row in rows)
    overall = loss_metrics(SFT(model), _batches(rows, recorded), device) if has_responses else {}
    wishes = settings.evaluation
    if wishes.generate or wishes.measures or settings.rewards or not has_responses:
        generated = _generated(model, start, settings, rows)
        return Found(overall, generated.scores, generated.rewarded())
    return Found(overall, {})


def _generated(model: LanguageModel, start: Pretrained, settings: RunConfig, rows: Sequence[Tokenized]) -> Generated:
    """Responses from the run's own engine, with every measure and reward that it names, and the KL to `reference`.

    KL is exact at every token, at temperature 1 over the whole vocabulary, and summed over the response.
    """
    choice = settings.rollout
    engine = choice.plugin if choice else plugins.find("rollouts", "in_process")
    chosen = choice.settings if choice else engine.Config(max_new_tokens=settings.data.max_response_tokens)
    is_greedy = settings.evaluation.decoding == "greedy"
    own: Any = chosen.model_copy(update={"samples_per_prompt": 1, "is_greedy": is_greedy, "seed": settings.seed})
    lengths = [(len(row.prompt), own.max_new_tokens) for row in rows]
    check_positions(start.model.config, lengths, "data.evaluation", POSITIONS_REMEDY)
    device = next(model.parameters()).device
    rewards = {
        reward.name: reward.choice.plugin.build(reward.choice.settings, reward.name, start.tokenizer, device)
        for reward in settings.rewards
    }
    measures = measures_of(settings.evaluation.measures)
    kl = partial(kl_per_token, model, _reference(settings.reference, start)) if settings.reference else None
    columns = TextColumns(start.tokenizer)
    return generate_and_measure(engine.build(own, model, start), rows, rewards, measures, BATCH, device, kl, columns)


def _reference(path: str, start: Pretrained) -> LanguageModel:
    model, its_start = load_frozen(path)
    if its_start.tokenizer.get_vocab() != start.tokenizer.get_vocab():
        raise InputError(f"reference: {path} has another vocabulary than the model; name the one it was trained from")
    return model


@torch.no_grad()
def of_reward_model(path: str, settings: RunConfig, records: Sequence[Record]) -> Found:
    """Accuracy per record is over its decided pairs, and over all pairs in `overall`; the score is a record's mean."""
    device = start_ranks().device
    scorer, tokenizer, _ = load_scorer(path)
    scorer.to(device)
    start = Pretrained(scorer.backbone, tokenizer, ())
    rows = tokenized(records, start, settings.data, "data.evaluation")
    if not all(row.responses for row in rows):
        raise InputError("data.evaluation: a reward model judges responses, and these records have none")
    _check_recorded(start, rows)
    batches = _batches(rows, recorded)
    values = iter([value for batch in batches for value in scorer(batch.to(device)).tolist()])
    scores = [[next(values) for _ in row.responses] for row in rows]
    correct = [_correct(row.record, some) for row, some in zip(rows, scores, strict=True)]
    measures = {
        "accuracy": [fmean(shares) for shares in correct if shares],
        "score": [fmean(some) for some in scores],
    }
    overall = _training_loss(scorer, Path(locate(path)), settings, rows, device)
    return Found(overall, {name: per_record for name, per_record in measures.items() if per_record})


def _correct(record: Record, scores: Sequence[float]) -> list[float]:
    """1 for each judgement that the scores agree with, 0 for the others."""
    if isinstance(record, Comparison):
        return decided(record.pairs, scores)
    return [float((scores[0] > 0) == record.is_good)] if isinstance(record, Judgement) else []


def _training_loss(
    scorer: SequenceScorer, folder: Path, settings: RunConfig, rows: Sequence[Tokenized], device: torch.device
) -> dict[str, float]:
    """What the training of a reward model would log on these records; nothing for demonstrations."""
    chosen = settings.algorithm.settings
    if all(isinstance(row.record, Comparison) for row in rows):
        kind = preference_reward_model
        own = chosen if isinstance(chosen, kind.Config) else kind.Config()  # pyright: ignore[reportCallIssue]
        module: nn.Module = scorer
        if own.learns_tie_strength:
            module = TieScorer(scorer)
            module.load_tie_strength(folder)
        algorithm: Algorithm = kind.PreferenceRewardModel(own, module)
        return loss_metrics(algorithm, _batches(rows, preferences), device)
    if all(isinstance(row.record, Judgement) for row in rows):
        algorithm = judgement_reward_model.JudgementRewardModel(scorer)
        return loss_metrics(algorithm, _batches(rows, judgements), device)
    return {}


def _check_recorded(start: Pretrained, rows: Sequence[Tokenized]) -> None:
    lengths = [(len(row.prompt), max(map(len, row.responses), default=0)) for row in rows]
    check_positions(start.model.config, lengths, "data.evaluation", POSITIONS_REMEDY)


def _batches(rows: Sequence[Tokenized], collate: Callable[[Sequence[Tokenized]], Any]) -> list[Any]:
    return [collate(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]


def print_table(overall: Mapping[str, float], intervals: Mapping[str, Interval], console: Console) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("Measure", style="bold")
    table.add_column("Mean", justify="right")
    table.add_column("95 % interval", justify="right", style="dim")
    for name, value in overall.items():
        table.add_row(Text(name if name == "loss" else f"{name}, overall"), f"{value:.3f}", "")
    for name, it in intervals.items():
        table.add_row(Text(name), f"{it.mean:.3f}", Text(f"[{it.low:.3f}, {it.high:.3f}]"))
    console.print(table)
