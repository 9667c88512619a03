"""Responses that are compared with others to the same prompt."""

import torch
from jaxtyping import Int
from torch import Tensor

from posttrain.batches import Rollout
from posttrain.errors import InputError
from posttrain.online.settings import OnlineSettings


def groups_of(rollout: Rollout, settings: OnlineSettings) -> Int[Tensor, "B"]:
    """The prompt of each response. InputError, which names the setting, where a prompt has one response only."""
    group = rollout.sequences.prompt_index
    if int(torch.bincount(group).min()) < 2:
        raise InputError(
            f"{settings.compares}: a prompt has one response only, and so nothing to compare it with; set "
            "rollout.samples_per_prompt to 2 or more"
        )
    return group
