"""Low-rank adapters: small trained matrices beside frozen ones. Source: Hu et al. 2021, LoRA, arXiv:2106.09685."""

import copy
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from posttrain.batches import Sequences
from posttrain.errors import InputError
from posttrain.models.language_model import LanguageModel


def check_installed() -> None:
    """InputError where peft is not there. For before anything is written."""
    if importlib.util.find_spec("peft") is None:
        raise InputError("model.lora: the package peft is not installed; run: pip install 'posttrain[lora]'")


def add_adapters(
    model: PreTrainedModel, rank: int, alpha: int, dropout: float, targets: tuple[str, ...] | None
) -> None:
    """Beside linear layers, W becomes W + alpha / rank · B A, where only A and B are trained; B starts at 0.

    `targets` are last parts of layers' names; None takes all linear layers but the head. InputError if one names none.
    """
    from peft import LoraConfig, inject_adapter_in_model

    linear = {name: type(part) for name, part in model.named_modules() if isinstance(part, nn.Linear | Conv1D)}
    unknown = [target for target in targets or () if not any(name.split(".")[-1] == target for name in linear)]
    if unknown:
        known = ", ".join(sorted({name.split(".")[-1] for name in linear}))
        raise InputError(f"model.lora.targets: no linear layer is called {', '.join(unknown)}; there are {known}")
    chosen = "all-linear" if targets is None else list(targets)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=chosen,
        fan_in_fan_out=Conv1D in linear.values(),  # GPT-2 keeps its weights the other way round
    )  # fmt: skip
    inject_adapter_in_model(config, model)


def _layers(module: nn.Module) -> dict[str, Any]:
    """The layers that have an adapter, by name."""
    if importlib.util.find_spec("peft") is None:
        return {}
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: part for name, part in module.named_modules() if isinstance(part, BaseTunerLayer)}


def has_adapters(module: nn.Module) -> bool:
    return bool(_layers(module))


@contextmanager
def adapters_off(module: nn.Module) -> Iterator[None]:
    """Within, the module is what it was before it had adapters."""
    layers = _layers(module).values()
    needed = {p: p.requires_grad for layer in layers for p in layer.parameters()}
    were_on = [layer for layer in layers if not layer.disable_adapters]  # none, within another of these
    try:
        for layer in were_on:
            layer.enable_adapters(False)
        yield
    finally:
        for layer in were_on:
            layer.enable_adapters(True)
        for parameter, is_needed in needed.items():
            parameter.requires_grad_(is_needed)


def merged(module: nn.Module) -> nn.Module:
    """A copy with what the adapters add in the weights themselves, and no adapter."""
    module = copy.deepcopy(module)
    for name, layer in _layers(module).items():
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, layer.get_base_layer())
    return module


class UnadaptedLanguageModel(LanguageModel):
    """The reference of a policy with adapters: the same weights without them, so that no second model is held."""

    @torch.no_grad()
    def forward(self, sequences: Sequences) -> Tensor:
        with adapters_off(self.hf_model):
            return super().forward(sequences)

    @torch.no_grad()
    def states(self, sequences: Sequences) -> Tensor:
        with adapters_off(self.hf_model):
            return super().states(sequences)
