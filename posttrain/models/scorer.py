"""A reward model: one score a response, a linear function of the last hidden states of its tokens."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from posttrain.batches import Sequences
from posttrain.errors import InputError
from posttrain.functional.reward_streams import last_true
from posttrain.interfaces import Pooling
from posttrain.models.heads import linear_head
from posttrain.models.language_model import states_of
from posttrain.settings import Settings

HEAD_FILE, STATISTICS_FILE = "score_head.safetensors", "score_statistics.json"
TIE_STRENGTH = "raw_tie_strength"


class ScoreStatistics(Settings):
    """Scores of held-out responses: what RL uses to bring rewards to mean 0 and standard deviation 1."""

    mean: float
    std: float
    num_responses: int


class SequenceScorer(nn.Module):
    def __init__(self, backbone: PreTrainedModel, pooling: Pooling = "last"):
        super().__init__()
        self.backbone, self.head = backbone, linear_head(backbone.config.hidden_size, is_zero=False)
        self.pooling: Pooling = pooling

    def forward(self, sequences: Sequences) -> Float[Tensor, "B"]:
        """Scores of whole responses; their end tokens, where they have them, count as tokens."""
        mask = sequences.response_mask
        states = states_of(self.backbone, sequences)[:, 1:]
        if self.pooling == "mean":
            summed = torch.where(mask.unsqueeze(-1), states, 0.0).sum(1)
            return self.head(summed / mask.sum(1, keepdim=True).clamp(min=1)).squeeze(-1)
        last = last_true(mask)
        return self.head(states[torch.arange(len(last), device=last.device), last]).squeeze(-1)

    def save(self, folder: Path, more: Mapping[str, Tensor] | None = None) -> None:
        """Backbone as a transformers folder, with the head, and what else is learnt, beside it."""
        self.backbone.save_pretrained(folder)
        tensors = {name: tensor.contiguous() for name, tensor in self.head.state_dict().items()} | dict(more or {})
        save_file(tensors, folder / HEAD_FILE, metadata={"pooling": self.pooling})

    def load_head(self, folder: Path) -> None:
        """The head, and the pooling that it was trained with: `last` where the file does not say."""
        path = folder / HEAD_FILE
        if not path.exists():
            raise InputError(
                f"{path}: missing, so {folder} is not a reward model; train one with algorithm preference_reward_model"
            )
        with safe_open(path, "pt") as file:
            self.head.load_state_dict({name: file.get_tensor(name) for name in self.head.state_dict()})
            pooling = (file.metadata() or {}).get("pooling", "last")
        if pooling not in get_args(Pooling):
            raise InputError(f"{path}: its pooling is {pooling!r}; known are {', '.join(get_args(Pooling))}")
        self.pooling = pooling


class TieScorer(nn.Module):
    """A reward model for which ties have a probability of their own, of a strength that is learnt with it."""

    def __init__(self, scorer: SequenceScorer):
        super().__init__()
        self.scorer, self.raw_tie_strength = scorer, nn.Parameter(torch.zeros(()))

    def forward(self, sequences: Sequences) -> tuple[Float[Tensor, "B"], Float[Tensor, ""]]:
        """Scores, and a number from which the method makes its strength."""
        return self.scorer(sequences), self.raw_tie_strength

    def save(self, folder: Path) -> None:
        self.scorer.save(folder, {TIE_STRENGTH: self.raw_tie_strength.detach()})

    def load_tie_strength(self, folder: Path) -> None:
        """InputError where the reward model was trained without one."""
        with safe_open(folder / HEAD_FILE, "pt") as file:
            if TIE_STRENGTH not in file.keys():  # noqa: SIM118
                raise InputError(f"{folder}: has no tie strength; give algorithm.ties as it was when it was trained")
            with torch.no_grad():
                self.raw_tie_strength.copy_(file.get_tensor(TIE_STRENGTH))


def write_statistics(folder: Path, scores: Float[Tensor, "N"]) -> ScoreStatistics:
    statistics = ScoreStatistics(mean=float(scores.mean()), std=float(scores.std()), num_responses=len(scores))
    (folder / STATISTICS_FILE).write_text(json.dumps(statistics.model_dump(), indent=1) + "\n")
    return statistics


def read_statistics(folder: Path) -> ScoreStatistics:
    path = folder / STATISTICS_FILE
    if not path.exists():
        raise InputError(
            f"{path}: missing; train the reward model with held-out data (data.evaluation) so that it is written"
        )
    try:
        return ScoreStatistics.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{path}: damaged ({error.errors()[0]['msg']}); train the reward model again") from error
