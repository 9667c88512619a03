"""Sampling responses to prompts: top-k 20 at temperature 0.7, at most 64 tokens, K samples a prompt.

Useful units are the tokens of the responses, the end token included. One step is one batch of prompts, read and
answered; the prompts are the same for all contenders, the answers are not, since each has random numbers of its own.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel

from benchmarks.lengths import PROMPT, Writer
from benchmarks.meter import MODELS, WARMUP, Meter, main
from benchmarks.shapes import END, PAD, SHAPES, TEMPERATURE, TOP_K, folder

MAX_NEW_TOKENS = 64


def texts(arguments: argparse.Namespace) -> list[list[str]]:
    writer = Writer(arguments.seed)
    return [[writer.text(PROMPT) for _ in range(arguments.batch)] for _ in range(arguments.steps + WARMUP)]


def posttrain(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from posttrain.commands.memory import keep_freed_memory
    from posttrain.data.collate import Encoder, prompts, tokenize
    from posttrain.data.records import Prompt
    from posttrain.models.language_model import LanguageModel
    from posttrain.models.loading import freeze, load_language_model
    from posttrain.models.precision import products_in
    from posttrain.rollouts.in_process import Config, build

    keep_freed_memory()  # as every command does
    start = load_language_model(str(folder(arguments.shape, MODELS)), 0.0)
    policy = freeze(LanguageModel(start.model))
    config = Config(
        temperature=TEMPERATURE, top_k=TOP_K, max_new_tokens=MAX_NEW_TOKENS, samples_per_prompt=arguments.samples
    )
    engine = build(config, policy, start)
    encoder = Encoder(start.tokenizer, start.is_encoder_decoder, 512, MAX_NEW_TOKENS)
    batches = [prompts(tokenize([Prompt(text=t) for t in some], encoder, "prompts")) for some in texts(arguments)]
    meter = Meter("response tokens")
    meter.start()
    for step, batch in enumerate(batches):
        with meter.timed() as units, products_in(getattr(torch, arguments.dtype)):
            units.append(int(engine.generate(batch, step).sequences.response_mask.sum()))
    return meter.result()


def transformers(arguments: argparse.Namespace, **options: Any) -> Mapping[str, Any]:
    path = folder(arguments.shape, MODELS)
    auto = AutoModelForSeq2SeqLM if SHAPES[arguments.shape].is_encoder_decoder else AutoModelForCausalLM
    model: PreTrainedModel = auto.from_pretrained(path, dtype=getattr(torch, arguments.dtype)).eval()
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    batches = [tokenizer(some, return_tensors="pt", padding=True) for some in texts(arguments)]
    meter = Meter("response tokens")
    meter.start()
    for batch in batches:
        with meter.timed() as units, torch.inference_mode():
            made = model.generate(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=True, top_k=TOP_K,
                top_p=1.0, temperature=TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS,
                num_return_sequences=arguments.samples, eos_token_id=END, pad_token_id=PAD, **options,
            )  # fmt: skip
            read = 1 if model.config.is_encoder_decoder else batch["input_ids"].shape[1]
            units.append(_num_tokens(made[:, read:]))
    return meter.result()


def _num_tokens(ids: torch.Tensor) -> int:
    has_ended = (ids == END).int().cumsum(-1)
    return int(((has_ended == 0) | ((ids == END) & (has_ended == 1))).sum())


def transformers_static(arguments: argparse.Namespace) -> Mapping[str, Any]:
    return transformers(arguments, cache_implementation="static", disable_compile=True)


CONTENDERS = {"posttrain": posttrain, "transformers": transformers, "transformers static cache": transformers_static}

if __name__ == "__main__":
    main(CONTENDERS, batch=16)
