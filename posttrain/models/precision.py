"""The number format in which products of matrices are computed, while weights and all sums stay in float32."""

import copy
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from posttrain.batches import Prompts, Sequences
from posttrain.data.records import Prompt
from posttrain.models.positions import max_positions

WORTH_IT = 0.8
"""bfloat16 is chosen where a step takes at most this share of its time in float32: rounding has to pay."""
TRIAL_TEXTS, TRIAL_PROMPT, TRIAL_RESPONSE = 4, 96, 32

_dtype: ContextVar[torch.dtype] = ContextVar("dtype", default=torch.float32)


@contextmanager
def products_in(dtype: torch.dtype) -> Iterator[None]:
    """Within, `computing` is in this format. Without it, in float32."""
    before = _dtype.set(dtype)
    try:
        yield
    finally:
        _dtype.reset(before)


def compute_dtype() -> torch.dtype:
    return _dtype.get()


def computing(device: torch.device) -> AbstractContextManager[Any]:
    """For the forward of a model: torch's autocast, which rounds weights and states on their way into a product."""
    if compute_dtype() == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=compute_dtype())


def rounded(model: PreTrainedModel) -> PreTrainedModel:
    """For a great many small products: a copy whose weights are rounded once. In float32 the model itself."""
    if compute_dtype() == torch.float32:
        return model
    weights = {id(p): nn.Parameter(p.detach().to(compute_dtype()), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, weights)  # buffers, such as the frequencies of rotary positions, keep their format


def faster_dtype(module: nn.Module, config: PreTrainedConfig, device: torch.device) -> torch.dtype:
    """float32, or bfloat16 where it makes `module(sequences)` and its gradient faster: measured, on this machine.

    `module` is a language model of this `config` on `device`; its gradients are gone afterwards.
    """
    was_training = module.training
    module.eval()  # no dropout: nothing random is drawn
    sequences = _some_sequences(config).to(device)
    seconds = {dtype: _seconds_of_step(module, sequences, dtype) for dtype in (torch.float32, torch.bfloat16)}
    module.train(was_training)
    is_worth_it = seconds[torch.bfloat16] <= WORTH_IT * seconds[torch.float32]
    return torch.bfloat16 if is_worth_it else torch.float32


def _some_sequences(config: PreTrainedConfig) -> Sequences:
    limit = max_positions(config) or TRIAL_PROMPT + TRIAL_RESPONSE
    sizes = [min(TRIAL_PROMPT, limit // 2), min(TRIAL_RESPONSE, limit // 4)]
    count = torch.arange(TRIAL_TEXTS * sum(sizes)).view(TRIAL_TEXTS, -1) % config.vocab_size
    prompt, response = count.split(sizes, dim=1)
    every = torch.ones_like(response, dtype=torch.bool)
    prompts = Prompts(prompt, torch.ones_like(prompt, dtype=torch.bool), (Prompt(text=""),) * TRIAL_TEXTS)
    return Sequences(prompts, torch.arange(TRIAL_TEXTS), response, every, every)


def _seconds_of_step(module: nn.Module, sequences: Sequences, dtype: torch.dtype) -> float:
    """The fastest of two, after one that allocates."""
    best = float("inf")
    for number in range(3):
        _wait_for(sequences.response_ids.device)
        started = time.perf_counter()
        with products_in(dtype):
            module(sequences).sum().backward()
        _wait_for(sequences.response_ids.device)
        module.zero_grad()
        if number:
            best = min(best, time.perf_counter() - started)
    return best


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
