"""A span reward model: for each span of a response, a logit for each class, from the hidden states of its tokens."""

import json
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from posttrain.batches import Sequences
from posttrain.data.span_labels import SpanSettings
from posttrain.errors import InputError
from posttrain.models.language_model import states_of

SPAN_HEAD_FILE = "span_head.safetensors"


class SpanScorer(nn.Module):
    """`log_weights` are those of the classes in the loss, [C]: what has to be taken off for probabilities."""

    log_weights: Tensor

    def __init__(self, backbone: PreTrainedModel, spans: SpanSettings):
        super().__init__()
        self.backbone, self.spans = backbone, spans
        width, num_classes = backbone.config.hidden_size, len(spans.names)
        self.head = nn.Linear(width, num_classes)
        nn.init.normal_(self.head.weight, std=(width + 1) ** -0.5)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("log_weights", torch.zeros(num_classes))

    def forward(
        self, sequences: Sequences, first: Int[Tensor, "B R"], is_end: Bool[Tensor, "B R"]
    ) -> Float[Tensor, "N C"]:
        """Logits of the spans, row by row and from left to right: span n ends at the n-th True of `is_end`."""
        states = states_of(self.backbone, sequences)[:, 1:]
        rows, lasts = is_end.nonzero(as_tuple=True)
        if self.spans.pooling == "last":
            return self.head(states[rows, lasts])
        # sums up to a column, of states that padding does not touch; a span's sum is the difference of two
        summed = torch.where(sequences.response_mask.unsqueeze(-1), states, 0.0).cumsum(1)
        firsts = first[rows, lasts]
        before = torch.where((firsts > 0).unsqueeze(-1), summed[rows, (firsts - 1).clamp(min=0)], 0.0)
        return self.head((summed[rows, lasts] - before) / (lasts - firsts + 1).unsqueeze(-1))

    def probabilities(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        """Of the classes as they are in the data: weights in the loss shift what softmax says (Elkan 2001, eq. 2)."""
        return (logits - self.log_weights).softmax(-1)

    def save(self, folder: Path) -> None:
        self.backbone.save_pretrained(folder)
        tensors = {name: tensor.contiguous() for name, tensor in self.head.state_dict().items()}
        tensors["log_weights"] = self.log_weights
        save_file(tensors, folder / SPAN_HEAD_FILE, metadata={"spans": json.dumps(self.spans.model_dump(mode="json"))})

    def load_head(self, folder: Path) -> None:
        with safe_open(folder / SPAN_HEAD_FILE, "pt") as file:
            self.head.load_state_dict({name: file.get_tensor(name) for name in self.head.state_dict()})
            self.log_weights = file.get_tensor("log_weights")


def read_spans(folder: Path) -> SpanSettings:
    """What the span reward model in a folder judges. InputError where there is none."""
    path = folder / SPAN_HEAD_FILE
    if not path.exists():
        raise InputError(f"{path}: missing, so {folder} is no span reward model; train one with algorithm "
                         "span_reward_model")  # fmt: skip
    try:
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("spans", "")
    except SafetensorError as error:
        raise InputError(f"{path}: damaged ({error}); train the span reward model again") from error
    try:
        return SpanSettings.model_validate_json(written)
    except ValidationError as error:
        raise InputError(f"{path}: does not say what it judges ({error.errors()[0]['msg']}); train it again") from error
