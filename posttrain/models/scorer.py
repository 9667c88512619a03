"""A reward model: one score a response, read from the last hidden state after the whole response."""

import json
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from posttrain.batches import Sequences
from posttrain.errors import InputError
from posttrain.functional.reward_streams import last_true
from posttrain.models.heads import linear_head
from posttrain.models.language_model import family_of
from posttrain.settings import Settings

HEAD_FILE, STATISTICS_FILE = "score_head.safetensors", "score_statistics.json"


class ScoreStatistics(Settings):
    """Scores of held-out responses: what RL uses to bring rewards to mean 0 and standard deviation 1."""

    mean: float
    std: float
    num_responses: int


class SequenceScorer(nn.Module):
    def __init__(self, backbone: PreTrainedModel):
        super().__init__()
        self.backbone, self.head = backbone, linear_head(backbone.config.hidden_size, is_zero=False)

    def forward(self, sequences: Sequences) -> Float[Tensor, "B"]:
        """Score after the last response token was read (its end token, when it has one)."""
        states = family_of(self.backbone).states(self.backbone, sequences)[:, 1:]
        last = last_true(sequences.response_mask)
        return self.head(states[torch.arange(len(last), device=last.device), last]).squeeze(-1)

    def save(self, folder: Path) -> None:
        """Backbone as a transformers folder, with the head beside it."""
        self.backbone.save_pretrained(folder)
        save_file({name: tensor.contiguous() for name, tensor in self.head.state_dict().items()}, folder / HEAD_FILE)

    def load_head(self, folder: Path) -> None:
        path = folder / HEAD_FILE
        if not path.exists():
            raise InputError(
                f"{path}: missing, so {folder} is not a reward model; train one with algorithm preference_reward_model"
            )
        self.head.load_state_dict(load_file(path))


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
