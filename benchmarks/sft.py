"""Supervised fine-tuning on responses of 8 to 70 tokens to prompts of 16 to 440. Useful units: tokens of both."""

import argparse
from collections.abc import Mapping
from typing import Any

from benchmarks import peers, training
from benchmarks.lengths import PROMPT, RESPONSE, Writer
from benchmarks.meter import MODELS, main
from benchmarks.shapes import SHAPES, folder

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
    return training.posttrain(arguments, UNIT, units(some), {"name": "sft"}, "demonstration_jsonl", some)


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
    return peer(arguments, train_sampling_strategy="group_by_length")


CONTENDERS = {"posttrain": posttrain, "peer": peer, "peer grouped by length": peer_grouped}

if __name__ == "__main__":
    main(CONTENDERS)
