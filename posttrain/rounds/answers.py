"""What a round asks about: samples of the policy; and what it learns from: labels of all rounds, and the best samples.

answers      prompts.jsonl  answers.jsonl
labels       train.jsonl  held_out.jsonl           of this round
preferences  train.jsonl  evaluation.jsonl         of all rounds so far, and newest.jsonl, of the last
best         train.jsonl                           each prompt's best answer, as a demonstration
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from posttrain.assembly.parts import load_frozen
from posttrain.config import DataSettings
from posttrain.data.agreement import agreement
from posttrain.data.jsonl import read_rows, write_rows
from posttrain.data.records import Comparison, Demonstration, Pair, Prompt
from posttrain.data.sources import demonstration_jsonl, preference_jsonl, prompt_jsonl
from posttrain.errors import InputError
from posttrain.interfaces import Reward
from posttrain.models.loading import Pretrained
from posttrain.rounds.settings import JudgeLabels
from posttrain.studies.measuring import judged_texts, prompt_rows, sampled
from posttrain.worlds.grounded_qa import annotators

Answered = tuple[Prompt, tuple[str, ...]]
"""A prompt and the answers to it."""


def distinct(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Each text once, where it comes first: no prompt serves two rounds, or learning and what is held out."""
    found: dict[str, Prompt] = {}
    for prompt in prompts:
        found.setdefault(prompt.text, prompt)
    return list(found.values())


def sample(
    model: str, prompts: Sequence[Prompt], data: DataSettings, num_samples: int, max_new_tokens: int, seed: int,
    temperature: float = 1.0,
) -> list[Answered]:  # fmt: skip
    """Answers of a policy to each prompt, within the limits of `data`."""
    policy, start = load_frozen(model)
    rows = prompt_rows(prompts, start, data, "labels.prompts", max_new_tokens)
    rollouts = sampled(policy, start, rows, num_samples, max_new_tokens, seed, temperature)
    written = [text for rollout in rollouts for text in rollout.texts]
    return [(prompt, tuple(written[i * num_samples : (i + 1) * num_samples])) for i, prompt in enumerate(prompts)]


def write_answers(folder: Path, answered: Sequence[Answered]) -> None:
    write_rows(folder / "prompts.jsonl", [prompt_jsonl.to_row(prompt) for prompt, _ in answered])
    write_rows(
        folder / "answers.jsonl",
        [prompt_jsonl.to_row(prompt) | {"responses": list(responses)} for prompt, responses in answered],
    )


def read_answers(folder: Path) -> list[Answered]:
    seen: dict[str, Any] = {}
    rows = read_rows(folder / "answers.jsonl")
    return [(prompt_jsonl.prompt_of(row, where, seen), tuple(row["responses"])) for where, row in rows]


def scores_of(reward: Reward, start: Pretrained, answered: Sequence[Answered]) -> list[list[float]]:
    """Of each prompt's answers."""
    streams = judged_texts(reward, start.tokenizer, start.is_encoder_decoder, answered)
    values = iter([value for stream in streams for value in stream.totals().tolist()])
    return [[next(values) for _ in responses] for _, responses in answered]


def simulated_labels(
    answered: Sequence[Answered], gold: Sequence[Sequence[float]], settings: annotators.Config
) -> list[Comparison]:
    """All pairs of each prompt's answers, by one simulated annotator a prompt, who compares by the true reward."""
    found = []
    for (prompt, responses), own in zip(answered, gold, strict=True):
        known = dict(zip(responses, own, strict=True))
        found.append(annotators.label(prompt, responses, settings, lambda _prompt, text, known=known: known[text]))
    return found


def judged_labels(
    answered: Sequence[Answered], scores: Sequence[Sequence[float]], settings: JudgeLabels
) -> list[Comparison]:
    """All pairs of each prompt's answers, by a reward."""

    def pair(first: int, second: int, own: Sequence[float]) -> Pair:
        ahead = own[first] - own[second]
        return Pair(first, second, 0 if abs(ahead) <= settings.tie_margin else 1 if ahead > 0 else 2, "judge")

    return [
        Comparison(prompt, responses, tuple(pair(i, j, own) for j in range(len(own)) for i in range(j)))
        for (prompt, responses), own in zip(answered, scores, strict=True)
    ]


def write_labels(
    folder: Path, labelled: Sequence[Comparison], held_out: Sequence[Prompt], gold: Mapping[str, Sequence[float]] | None
) -> dict[str, Any]:
    """train.jsonl and held_out.jsonl, which has the comparisons of those prompts; what is known of the labels.

    `gold` has the true rewards of each prompt's responses, where they are known: how often even they agree with the
    held-out labels is what no reward model can be expected to exceed.
    """
    if not labelled:
        raise InputError("labels: nobody has compared any answers, all tasks were set aside; there is nothing to learn")
    kept = {prompt.text for prompt in held_out}
    parts = {
        "train": [it for it in labelled if it.prompt.text not in kept],
        "held_out": [it for it in labelled if it.prompt.text in kept],
    }
    for name, part in parts.items():
        write_rows(folder / f"{name}.jsonl", [preference_jsonl.to_row(it) for it in part])
    labels = [pair.label for it in labelled for pair in it.pairs]
    facts: dict[str, Any] = {name: len(part) for name, part in parts.items()}
    facts |= {"num_pairs": len(labels), "tie_share": labels.count(0) / max(1, len(labels))}
    if gold is not None:
        ceiling, num = agreement(parts["held_out"], [gold[it.prompt.text] for it in parts["held_out"]])
        facts |= {"ceiling": ceiling if num else None, "mean_gold": fmean(x for own in gold.values() for x in own)}
    return facts


def read_labels(path: Path) -> list[Comparison]:
    """[] for an empty file, which no source would take."""
    if not path.stat().st_size:
        return []
    return preference_jsonl.load(preference_jsonl.Config(path=path, should_allow_empty=True))


def write_preferences(folder: Path, labels: Sequence[Path]) -> dict[str, Any]:
    """Those of all rounds, `labels` being their folders, the newest last. Ids begin with the round, to be unique."""
    counts = {}
    for name, file in (("train", "train"), ("evaluation", "held_out")):
        rows = [
            row | ({"id": f"round{number}-{row['id']}"} if "id" in row else {})
            for number, each in enumerate(labels, 1)
            for _, row in _rows(each / f"{file}.jsonl")
        ]
        write_rows(folder / f"{name}.jsonl", rows)
        counts[name] = len(rows)
    write_rows(folder / "newest.jsonl", [row for _, row in _rows(labels[-1] / "train.jsonl")])
    return counts


def _rows(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    return iter(()) if not path.stat().st_size else read_rows(path)


def write_best(folder: Path, answered: Sequence[Answered], scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Each prompt's best answer, empty ones left out; how much better than the mean they are."""
    best = [max(range(len(own)), key=own.__getitem__) for own in scores]
    chosen = [
        Demonstration(prompt, responses[place])
        for (prompt, responses), place in zip(answered, best, strict=True)
        if responses[place].strip()
    ]
    write_rows(folder / "train.jsonl", [demonstration_jsonl.to_row(it) for it in chosen])
    return {
        "num": len(chosen),
        "mean_score": fmean(fmean(own) for own in scores),
        "mean_best_score": fmean(own[place] for own, place in zip(scores, best, strict=True)),
    }
