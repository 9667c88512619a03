"""Decoding by the model's own forward, with layouts: samples share their prompt, and memory is taken once."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from posttrain.batches import Prompts
from posttrain.models.families import decoder_only, encoder_decoder
from posttrain.models.layouts.attending import attending
from posttrain.models.layouts.growing import Continuing, Decoding
from posttrain.models.layouts.packed import Packed
from posttrain.models.layouts.prompts import SharedPrompts

FULL_ENOUGH = 0.8
"""Rows that have ended leave a decoder when at most this share is going on: leaving copies what the rest wrote."""


@dataclass
class EncoderDecoderDecoding:
    """Encoder and cross attention's keys and values once a prompt; what rows write has its memory from the start."""

    full_enough: ClassVar[float] = FULL_ENOUGH
    model: PreTrainedModel
    encoded: Float[Tensor, "U P D"]
    layout: Decoding

    @classmethod
    def start(
        cls, model: PreTrainedModel, prompts: Prompts, prompt_index: Int[Tensor, "B"], num_new_tokens: int
    ) -> "EncoderDecoderDecoding":
        encoded = encoder_decoder.encode(model, prompts)
        num_columns = num_new_tokens + len(encoder_decoder.decoder_start(model.config))
        return cls(model, encoded, Decoding(prompts.lengths, prompt_index, num_columns))

    def first_logits(self) -> Float[Tensor, "B V"]:
        start = self.layout.prompts.row_lengths.new_tensor(encoder_decoder.decoder_start(self.model.config))
        return self._read(start.expand(self.layout.own.num_rows, -1))

    def next_logits(self, token: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
        return self._read(token.unsqueeze(1))

    def _read(self, ids: Int[Tensor, "B S"]) -> Float[Tensor, "B V"]:
        decoder = self.model.get_decoder()
        with attending(decoder):
            hidden = decoder(
                input_ids=ids, encoder_hidden_states=self.encoded, cache=self.layout.cache, use_cache=True,
                layout=self.layout,
            ).last_hidden_state  # fmt: skip
        self.layout.own.advance(ids.shape[1])
        return encoder_decoder.logits(self.model, hidden[:, -1])

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        self.layout.keep(rows)


@dataclass
class DecoderOnlyDecoding:
    """Prompts are read packed and kept once, and what rows write has its memory from the start."""

    full_enough: ClassVar[float] = FULL_ENOUGH
    model: PreTrainedModel
    layout: Continuing
    prompt_logits: Float[Tensor, "B V"]

    @classmethod
    def start(
        cls, model: PreTrainedModel, prompts: Prompts, prompt_index: Int[Tensor, "B"], num_new_tokens: int
    ) -> "DecoderOnlyDecoding":
        lengths = prompts.lengths
        shared = SharedPrompts(lengths, prompt_index)
        packed = Packed(
            lengths, lambda group, keys, values: shared.groups[group].add_layer(keys, values), len(shared.groups)
        )
        with attending(model):
            hidden = model.base_model(
                input_ids=packed.row(prompts.ids, prompts.mask), position_ids=packed.positions(), use_cache=False,
                layout=packed,
            ).last_hidden_state  # fmt: skip
        last = packed.place.gather(1, lengths.unsqueeze(1) - 1).squeeze(1)
        logits = decoder_only.logits(model, hidden[0, last])
        return cls(model, Continuing(shared, num_new_tokens), logits[prompt_index])

    def first_logits(self) -> Float[Tensor, "B V"]:
        return self.prompt_logits

    def next_logits(self, token: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
        with attending(self.model):
            hidden = self.model.base_model(
                input_ids=token.unsqueeze(1), position_ids=self.layout.positions(), use_cache=False, layout=self.layout
            ).last_hidden_state
        self.layout.own.advance()
        return decoder_only.logits(self.model, hidden[:, -1])

    def join(self, other: "DecoderOnlyDecoding") -> None:
        """Rows of `other`, whose first tokens are chosen, stand behind these and are decoded with them."""
        self.layout.join(other.layout)

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        self.layout.keep(rows)
