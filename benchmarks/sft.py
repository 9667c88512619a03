"""Supervised fine-tuning on responses of 8 to 70 tokens to prompts of 16 to 440. Useful units: tokens of both."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmarks import by_hand, peers, training
from benchmarks.flops import BACKWARD, forward_gflop
from benchmarks.lengths import PROMPT, RESPONSE, Writer
from benchmarks.meter import MODELS, WARMUP, main
from benchmarks.shapes import END, SHAPES, folder

UNIT = "tokens of prompts and responses"


def rows(arguments: argparse.Namespace) -> list[dict[str, str]]:
    writer = Writer(arguments.seed)
    return [
        {"prompt": writer.text(PROMPT), "response": writer.text(RESPONSE)} for _ in range(training.num_rows(arguments))
    ]


def units(some: list[dict[str, str]]) -> list[float]:
    return [len(row["prompt"].split()) + len(row["response"].split()) + 1 for row in some]


def posttrain(arguments: argparse.Namespace) -> Mapping[str, Any]:
    some = rows(arguments)
    result = training.posttrain(arguments, UNIT, units(some), {"name": "sft"}, "demonstration_jsonl", some)
    counted = some[WARMUP * arguments.batch :]
    prompt, response = (sum(len(row[name].split()) for row in counted) for name in ("prompt", "response"))
    useful = BACKWARD * forward_gflop(arguments.shape, prompt, response + len(counted), is_with_head=True)
    return result | {"useful_gflop": useful, "useful_seconds": result["units"] / result["per_second"]}


def peer(arguments: argparse.Namespace, **more: Any) -> Mapping[str, Any]:
    some = rows(arguments)
    if SHAPES[arguments.shape].is_encoder_decoder:
        return peers.run(lambda scratch: _seq2seq(arguments, some, scratch, **more), UNIT, peers.num_tokens)
    return peers.run(lambda scratch: _trl(arguments, some, scratch, **more), UNIT, peers.num_tokens)


def _trl(arguments: argparse.Namespace, some: list[dict[str, str]], scratch: str, **more: Any) -> Any:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    path = folder(arguments.shape, MODELS)
    texts = [{"prompt": row["prompt"], "completion": " " + row["response"]} for row in some]
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(path),
        args=SFTConfig(**peers.arguments_of(arguments, scratch, completion_only_loss=True, max_length=None, **more)),
        train_dataset=Dataset.from_list(texts),
        processing_class=AutoTokenizer.from_pretrained(path),
    )


def _seq2seq(arguments: argparse.Namespace, some: list[dict[str, str]], scratch: str, **more: Any) -> Any:
    from transformers import (
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
    )

    path = folder(arguments.shape, MODELS)
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSeq2SeqLM.from_pretrained(path)
    data = [
        {
            "input_ids": tokenizer(row["prompt"] + " </s>").input_ids,
            "labels": tokenizer(row["response"] + " </s>").input_ids,
        }
        for row in some
    ]
    return Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(**peers.arguments_of(arguments, scratch, **more)),
        train_dataset=data,  # pyright: ignore[reportArgumentType]
        data_collator=DataCollatorForSeq2Seq(tokenizer, model),
    )


def peer_grouped(arguments: argparse.Namespace) -> Mapping[str, Any]:
    return peer(arguments, train_sampling_strategy="group_by_length", gradient_checkpointing=False)


def transformers_by_hand(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from transformers import AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder(arguments.shape, MODELS)), by_hand.load(arguments)
    some = [
        (tokenizer(row["prompt"]).input_ids, [*tokenizer(row["response"]).input_ids, END]) for row in rows(arguments)
    ]
    batches = by_hand.by_length(some, arguments.batch)

    def loss(batch: Sequence[by_hand.Row]) -> torch.Tensor:
        return -by_hand.token_logprobs(model, batch).mean()

    counts = [float(sum(len(prompt) + len(response) for prompt, response in batch)) for batch in batches]
    return by_hand.train(arguments, model, batches, loss, UNIT, counts)


CONTENDERS = {
    "posttrain": posttrain, "trl": peer, "Seq2SeqTrainer": peer, "trl grouped by length": peer_grouped,
    "Seq2SeqTrainer grouped by length": peer_grouped, "transformers by hand": transformers_by_hand,
}  # fmt: skip

if __name__ == "__main__":
    main(CONTENDERS)
