"""What a policy writes to unseen prompts by each true reward, and what the reward models know of the truth."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from posttrain.assembly.parts import load_frozen
from posttrain.assembly.records import tokenized
from posttrain.batches import RewardStream
from posttrain.config import DataSettings
from posttrain.data.jsonl import write_rows
from posttrain.data.records import Prompt
from posttrain.interfaces import Reward
from posttrain.models.language_model import kl_per_token
from posttrain.models.loading import load_tokenizer, read_config
from posttrain.models.spans.scorer import SPAN_HEAD_FILE
from posttrain.quickstart import MAX_NEW_TOKENS, MAX_PROMPT_TOKENS
from posttrain.reading.config_reading import ChoiceOf
from posttrain.reproduce.fine_grained_labels import PARTS
from posttrain.rewards import sequence_model, span_model
from posttrain.studies.measuring import judged_texts, sampled
from posttrain.training.distributed import start_ranks
from posttrain.worlds.grounded_qa.truth import judge

SEED = 1_000  # of the samples that policies are measured by


class Bench:
    """The SFT model and the prompts, loaded once for all policies."""

    def __init__(self, sft: Path, prompts: Sequence[Prompt]) -> None:
        self.sft, self.start = load_frozen(str(sft))
        self.prompts = prompts
        source = ChoiceOf(("data.sources", "worlds"), key="source").parse(
            {"source": "grounded_qa", "split": "evaluation"}
        )
        limits = DataSettings(train=source, max_prompt_tokens=MAX_PROMPT_TOKENS, max_response_tokens=MAX_NEW_TOKENS)
        self.rows = tokenized(prompts, self.start, limits, "evaluation prompts")


@torch.no_grad()
def write_answers(bench: Bench, policy: Path, folder: Path) -> dict[str, Any]:
    """answers.jsonl: one sampled answer to each prompt with each true reward, its tokens and its exact KL in nats."""
    model, start = load_frozen(str(policy))
    rows: list[dict[str, Any]] = []
    for rollout in sampled(model, start, bench.rows, 1, MAX_NEW_TOKENS, SEED):
        kl = kl_per_token(model, bench.sft, rollout.sequences).sum(-1).tolist()
        lengths = rollout.sequences.lengths.tolist()
        for prompt, text, nats, length in zip(rollout.examples, rollout.texts, kl, lengths, strict=True):
            truth = judge(prompt, text)
            own = {name: part(truth) for name, part in PARTS.items()}
            rows.append({"prompt": prompt.text, "answer": text, **own, "kl": nats, "length": length,
                         "sentences": len(truth.factuality)})  # fmt: skip
    write_rows(folder / "answers.jsonl", rows)
    return {"num_prompts": len(rows)}


def reward_model_table(models: Mapping[str, Path], held_out: Sequence[tuple[Prompt, Sequence[str]]]) -> dict[str, Any]:
    """Of the held-out pairs that a true reward decides, the share that each reward model orders as it does.

    A span model orders answers by the mean over their spans: true factuality and relevance are shares too.
    """
    truths = [[judge(prompt, text) for text in texts] for prompt, texts in held_out]
    table: dict[str, dict[str, float | None]] = {}
    counts: dict[str, int] = {}
    for name, path in models.items():
        scores = iter(_scores(path, held_out))
        own = [[next(scores) for _ in texts] for _, texts in held_out]
        table[name] = {}
        for part, of in PARTS.items():
            right = [_is_right(of(t[i]) - of(t[j]), s[i] - s[j]) for t, s in zip(truths, own, strict=True)
                     for i, j in combinations(range(len(t)), 2) if of(t[i]) != of(t[j])]  # fmt: skip
            table[name][part], counts[part] = sum(right) / len(right) if right else None, len(right)
    return {"pair_accuracy": table, "num_pairs": counts}


def _is_right(truth: float, score: float) -> float:
    return 0.5 if score == 0 else float((truth > 0) == (score > 0))


def _scores(path: Path, held_out: Sequence[tuple[Prompt, Sequence[str]]]) -> list[float]:
    """The reward of each recorded answer, of a span model its mean over the spans."""
    means = [stream.totals() / stream.mask.sum(-1).clamp(min=1) for stream in _streams(path, held_out)]
    return torch.cat(means).tolist()


def _streams(path: Path, held_out: Sequence[tuple[Prompt, Sequence[str]]]) -> Iterator[RewardStream]:
    tokenizer, device = load_tokenizer(str(path)), start_ranks().device
    settings = {"model": str(path)}
    reward: Reward
    if (path / SPAN_HEAD_FILE).exists():
        reward = span_model.build(span_model.Config.model_validate(settings), "learned", tokenizer, device)
    else:
        reward = sequence_model.build(sequence_model.Config.model_validate(settings), "learned", tokenizer, device)
    is_encoder_decoder = bool(read_config(str(path), None).is_encoder_decoder)
    return judged_texts(reward, tokenizer, is_encoder_decoder, held_out)
