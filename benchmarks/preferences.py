"""Pairs of responses to prompts of 16 to 440 tokens (mean 300): a reward model, or DPO. Useful units: pairs."""

import argparse
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks import by_hand, peers, training
from benchmarks.lengths import PAIR_PROMPT, RESPONSE, Writer
from benchmarks.meter import MODELS, main
from benchmarks.shapes import END, folder

UNIT = "pairs"


def pairs(arguments: argparse.Namespace) -> list[tuple[str, str, str]]:
    """(prompt, better, worse)"""
    writer = Writer(arguments.seed)
    return [
        (writer.text(PAIR_PROMPT), writer.text(RESPONSE), writer.text(RESPONSE))
        for _ in range(training.num_rows(arguments))
    ]


def posttrain(arguments: argparse.Namespace, algorithm: Mapping[str, Any]) -> Mapping[str, Any]:
    rows = [
        {"prompt": prompt, "responses": [better, worse], "pairs": [[0, 1, 1]]}
        for prompt, better, worse in pairs(arguments)
    ]
    return training.posttrain(arguments, UNIT, [1.0] * len(rows), algorithm, "preference_jsonl", rows)


def posttrain_reward_model(arguments: argparse.Namespace) -> Mapping[str, Any]:
    return posttrain(arguments, {"name": "preference_reward_model"})


def posttrain_dpo(arguments: argparse.Namespace) -> Mapping[str, Any]:
    return posttrain(arguments, {"name": "dpo", "beta": 0.1})


def _dataset(arguments: argparse.Namespace) -> Any:
    from datasets import Dataset

    return Dataset.from_list(
        [
            {"prompt": prompt, "chosen": " " + better, "rejected": " " + worse}
            for prompt, better, worse in pairs(arguments)
        ]
    )


def trl_reward_model(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    def make(scratch: str) -> Any:
        path = folder(arguments.shape, MODELS)
        return RewardTrainer(
            model=AutoModelForSequenceClassification.from_pretrained(path, num_labels=1),
            args=RewardConfig(**peers.arguments_of(arguments, scratch, max_length=None)),
            train_dataset=_dataset(arguments),
            processing_class=AutoTokenizer.from_pretrained(path),
        )

    return peers.run(make, UNIT, lambda _: float(arguments.batch))


def trl_dpo(arguments: argparse.Namespace, **more: Any) -> Mapping[str, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    def make(scratch: str) -> Any:
        path = folder(arguments.shape, MODELS)
        return DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(path),
            args=DPOConfig(**peers.arguments_of(arguments, scratch, max_length=None, **more)),
            train_dataset=_dataset(arguments),
            processing_class=AutoTokenizer.from_pretrained(path),
        )

    return peers.run(make, UNIT, lambda _: float(arguments.batch))


def trl_dpo_precomputed(arguments: argparse.Namespace) -> Mapping[str, Any]:
    return trl_dpo(arguments, precompute_ref_log_probs=True, gradient_checkpointing=False)


def transformers_dpo_by_hand(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """The reference's sums are there before the first step, as with `posttrain` and `precompute_ref_log_probs`."""
    from transformers import AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder(arguments.shape, MODELS)), by_hand.load(arguments)

    def encoded(text: str) -> list[int]:
        return tokenizer(text).input_ids

    some = [
        ((encoded(prompt), [*encoded(better), END]), (encoded(prompt), [*encoded(worse), END]))
        for prompt, better, worse in pairs(arguments)
    ]
    batches = []
    for batch in by_hand.in_batches(some, arguments.batch):
        rows = [row for pair in zip(*batch, strict=True) for row in pair]  # all better ones, then all worse ones
        with torch.no_grad():
            batches.append((rows, by_hand.sums(by_hand.token_logprobs(model, rows), rows)))

    def loss(batch: tuple[list[by_hand.Row], torch.Tensor]) -> torch.Tensor:
        rows, of_reference = batch
        better, worse = (by_hand.sums(by_hand.token_logprobs(model, rows), rows) - of_reference).chunk(2)
        return -F.logsigmoid(0.1 * (better - worse)).mean()

    return by_hand.train(arguments, model, batches, loss, UNIT, [float(arguments.batch)] * len(batches))


CONTENDERS = {
    "posttrain reward model": posttrain_reward_model, "trl reward model": trl_reward_model,
    "posttrain dpo": posttrain_dpo, "trl dpo": trl_dpo, "trl dpo precomputed": trl_dpo_precomputed,
    "transformers dpo by hand": transformers_dpo_by_hand,
}  # fmt: skip

if __name__ == "__main__":
    main(CONTENDERS)
