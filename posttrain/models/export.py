"""A trained module as model folders that anyone can load."""

import copy
import shutil
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from posttrain.models.actor_critic import SeparateActorCritic, SharedActorCritic
from posttrain.models.adapters import has_adapters, merged
from posttrain.models.language_model import LanguageModel
from posttrain.models.scorer import SequenceScorer, TieScorer
from posttrain.models.spans.scorer import SpanScorer


def export(module: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype) -> None:
    """Write `folder` whole or not at all: a language model (the policy of an actor-critic) or a reward model."""
    if has_adapters(module):
        module = merged(module)
    module = copy.deepcopy(module).to(dtype) if dtype != torch.float32 else module
    unfinished = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if isinstance(module, SequenceScorer | TieScorer | SpanScorer):
        module.save(unfinished)
    else:
        policy = module.policy if isinstance(module, SeparateActorCritic | SharedActorCritic) else module
        assert isinstance(policy, LanguageModel)
        policy.hf_model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
