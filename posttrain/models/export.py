"""A trained module as model folders that anyone can load."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from posttrain import durable_files
from posttrain.models.actor_critic import SeparateActorCritic, SharedActorCritic
from posttrain.models.adapters import has_adapters, merged
from posttrain.models.language_model import LanguageModel
from posttrain.models.scorer import SequenceScorer, TieScorer
from posttrain.models.spans.scorer import SpanScorer


def export(
    module: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype,
    add: Callable[[Path], None] = lambda unfinished: None,
) -> None:  # fmt: skip
    """Write `folder` whole or not at all: a language model (the policy of an actor-critic) or a reward model.

    `add` puts more files into it before it gets its name. An earlier folder of that name is replaced at the end.
    """
    unfinished, replaced = (folder.with_name(f".{word}-{folder.name}") for word in ("tmp", "replaced"))
    with durable_files.faults_named(folder, "make room or restore the permission to write, then resume"):
        for leftover in (unfinished, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _save(module, tokenizer, unfinished, dtype)
        add(unfinished)
        for path in [*unfinished.rglob("*"), unfinished]:
            durable_files.sync(path)
        if folder.exists():
            durable_files.rename(folder, replaced)
        durable_files.rename(unfinished, folder)
        shutil.rmtree(replaced, ignore_errors=True)


def _save(module: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype) -> None:
    if has_adapters(module):
        module = merged(module)
    module = copy.deepcopy(module).to(dtype) if dtype != torch.float32 else module
    if isinstance(module, SequenceScorer | TieScorer | SpanScorer):
        module.save(folder)
    else:
        policy = module.policy if isinstance(module, SeparateActorCritic | SharedActorCritic) else module
        assert isinstance(policy, LanguageModel)
        policy.hf_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
