"""How ours grows: SFT with larger batches and longer prompts, and the memory of log-probabilities. One row a process.

Useful units: tokens of prompts and responses. Prompts have `--prompt` tokens each, or lengths as elsewhere; 32 rows are
read at a time, however many a batch has.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks import sft, training
from benchmarks.lengths import PROMPT, RESPONSE, Lengths, Writer
from benchmarks.meter import Meter, main, peak_mb

ROWS_AT_ONCE = 32
SIZES = {f"batch {size}": {"batch": size} for size in (8, 32, 128)}
PROMPTS = {f"prompts of {tokens} tokens": {"prompt": tokens} for tokens in (64, 128, 256, 512)}
TOKENS = {f"log-probabilities of {tokens} tokens": {"tokens": tokens} for tokens in (512, 4096, 16384)}
WIDTH = 288


def training_step(arguments: argparse.Namespace, batch: int = 16, prompt: int | None = None) -> Mapping[str, Any]:
    arguments.batch = batch
    lengths = PROMPT if prompt is None else Lengths(prompt, prompt, prompt)
    writer = Writer(arguments.seed)
    rows = [
        {"prompt": writer.text(lengths), "response": writer.text(RESPONSE)} for _ in range(training.num_rows(arguments))
    ]
    more = {"microbatch_size": ROWS_AT_ONCE}
    return training.posttrain(
        arguments, sft.UNIT, sft.units(rows), {"name": "sft"}, "demonstration_jsonl", rows, **more
    )


def logprobs(arguments: argparse.Namespace, tokens: int) -> Mapping[str, Any]:
    """Forward and backward through a head of 32,000 words; memory above what its inputs and gradients take."""
    from benchmarks.shapes import VOCABULARY
    from posttrain.functional.head_logprobs import head_logprobs

    hidden = torch.randn(tokens, WIDTH, requires_grad=True)
    weight = torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    ids = torch.randint(0, VOCABULARY, (tokens,))
    hidden.grad, weight.grad = torch.zeros_like(hidden), torch.zeros_like(weight)
    meter = Meter("tokens")
    meter.start()
    for _ in range(arguments.steps + 1):
        with meter.timed() as units:
            head_logprobs(hidden, weight, None, ids, 1.0).sum().backward()
            units.append(float(tokens))
    result = meter.result()
    needed = (hidden.numel() + weight.numel()) * 4 / 2**20  # new gradients, before they are added to the old
    return result | {"above_model_mb": peak_mb() - meter.before_mb - needed}


CONTENDERS = {
    name: lambda arguments, function=function, settings=settings: function(arguments, **settings)
    for function, rows in ((training_step, SIZES | PROMPTS), (logprobs, TOKENS))
    for name, settings in rows.items()
}

if __name__ == "__main__":
    main(CONTENDERS, steps=2)
