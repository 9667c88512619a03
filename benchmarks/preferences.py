"""Pairs of responses to prompts of 16 to 440 tokens (mean 300): a reward model, or DPO. Useful units: pairs."""

import argparse
from collections.abc import Mapping
from typing import Any

from benchmarks import peers, training
from benchmarks.lengths import PAIR_PROMPT, RESPONSE, Writer
from benchmarks.meter import MODELS, main
from benchmarks.shapes import folder

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
    return trl_dpo(arguments, precompute_ref_log_probs=True)


CONTENDERS = {
    "posttrain reward model": posttrain_reward_model, "trl reward model": trl_reward_model,
    "posttrain dpo": posttrain_dpo, "trl dpo": trl_dpo, "trl dpo precomputed": trl_dpo_precomputed,
}  # fmt: skip

if __name__ == "__main__":
    main(CONTENDERS)
