"""A token's forward as a CUDA graph: recorded once for some rows, and played for every token they write.

On a GPU a small model's token takes its time in the launching of kernels, hundreds of them, and not in their work.
"""

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from posttrain.models.decoding.written_out import LlamaDecoding, T5Decoding
from posttrain.models.layouts.fixed import FixedTokens

WARM_UP = 2
"""Steps before the recording, in which libraries choose their kernels and take their memory."""
FIXED_ROPES = ("default", "linear", "llama3", "yarn")
"""Rotary positions whose frequencies do not look at the positions on the host."""


def can_be_recorded(model: PreTrainedModel) -> bool:
    """On a GPU, for a model whose forward is written out."""
    ropes = getattr(model.config, "rope_parameters", None) or {}
    return model.device.type == "cuda" and ropes.get("rope_type", "default") in FIXED_ROPES


class RecordedDecoding:
    """`decoding` with memory of fixed shapes. `is_played` false runs each step as it is, which any device can."""

    full_enough: ClassVar[float] = 0.5  # other rows are another recording

    def __init__(self, decoding: LlamaDecoding | T5Decoding, is_played: bool = True):
        self.decoding, self.is_played = decoding, is_played
        self._recording: tuple[Any, Tensor, Tensor] | None = None

    def first_logits(self) -> Float[Tensor, "B V"]:
        return self.decoding.first_logits()

    def next_logits(self, token: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
        """What a played step gives stands where the next one will write: read it before."""
        own = self._fixed()
        if not self.is_played:
            return self.decoding.next_logits(token)
        if self._recording is None:
            self._recording = self._record(token)
        graph, given, logits = self._recording
        given.copy_(token)
        graph.replay()
        own.written += 1  # the column on the device was moved on by the graph
        return logits

    def _fixed(self) -> FixedTokens:
        layout = self.decoding.layout
        if not isinstance(layout.own, FixedTokens):
            layout.own = FixedTokens(layout.own)
        return layout.own

    def _record(self, token: Int[Tensor, "B"]) -> tuple[Any, Tensor, Tensor]:
        """Steps on this very token, each from the same column; what they write is written over by the first played."""
        own, given = self._fixed(), token.clone()
        written = own.written
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.decoding.next_logits(given)
                own.return_to(written)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self.decoding.next_logits(given)
        own.written = written  # nothing was done: the column on the device stands where it stood
        return graph, given, logits

    def join(self, other: "RecordedDecoding") -> None:
        """Rows of `other`, whose first tokens are chosen, stand behind these and are decoded with them."""
        self._fixed()
        self.decoding.join(other.decoding)  # pyright: ignore[reportArgumentType]
        self._recording = None

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        self._fixed()
        self.decoding.keep(rows)
        self._recording = None
