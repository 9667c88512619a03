"""Token-by-token decoding with a key-value cache, for either family.

Prompts are run once each. Samples share what is kept of them where a layout says how; otherwise it is repeated.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from posttrain.batches import Prompts
from posttrain.models.families import decoder_only, encoder_decoder
from posttrain.models.layouts.attending import attending
from posttrain.models.layouts.growing import Continuing, Decoding, SharedPrompts
from posttrain.models.layouts.packed import Packed


class Decoder(Protocol):
    def first_logits(self) -> Float[Tensor, "B V"]: ...
    def next_logits(self, token: Int[Tensor, "B"]) -> Float[Tensor, "B V"]: ...
    def keep(self, rows: Int[Tensor, "K"]) -> None: ...


def start_decoding(
    model: PreTrainedModel, prompts: Prompts, prompt_index: Int[Tensor, "B"], num_new_tokens: int
) -> Decoder:
    """Run the prompts and make ready to write one response for each entry of `prompt_index`."""
    if model.config.is_encoder_decoder:
        if encoder_decoder.has_plain_attention(model):
            return EncoderDecoderDecoding.start(model, prompts, prompt_index, num_new_tokens)
        return PlainEncoderDecoderDecoding.start(model, prompts, prompt_index)
    if decoder_only.has_plain_attention(model):
        return DecoderOnlyDecoding.start(model, prompts, prompt_index, num_new_tokens)
    return PlainDecoderOnlyDecoding.start(model, prompts, prompt_index)


@dataclass
class EncoderDecoderDecoding:
    """Encoder and cross attention's keys and values once a prompt; what rows write has its memory from the start."""

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
        start = self.layout.prompts.index.new_tensor(encoder_decoder.decoder_start(self.model.config))
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
        self.layout.own.written += ids.shape[1]
        return encoder_decoder.logits(self.model, hidden[:, -1])

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        self.layout.keep(rows)


@dataclass
class DecoderOnlyDecoding:
    """Prompts are read packed and kept once, and what rows write has its memory from the start."""

    model: PreTrainedModel
    layout: Continuing
    prompt_logits: Float[Tensor, "B V"]

    @classmethod
    def start(
        cls, model: PreTrainedModel, prompts: Prompts, prompt_index: Int[Tensor, "B"], num_new_tokens: int
    ) -> "DecoderOnlyDecoding":
        lengths = prompts.lengths
        packed = Packed(lengths, kept=[])
        with attending(model):
            hidden = model.base_model(
                input_ids=packed.row(prompts.ids, prompts.mask), position_ids=packed.positions(), use_cache=False,
                layout=packed,
            ).last_hidden_state  # fmt: skip
        assert packed.kept is not None
        keys, values = (list(each) for each in zip(*packed.kept, strict=True))
        shared = SharedPrompts(keys, values, lengths, prompt_index)
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
        self.layout.own.written += 1
        return decoder_only.logits(self.model, hidden[:, -1])

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        self.layout.keep(rows)


@dataclass
class PlainEncoderDecoderDecoding:
    """Whatever the model does, with transformers' growing cache."""

    model: PreTrainedModel
    encoded: Float[Tensor, "B P D"]
    mask: Int[Tensor, "B P"]
    cache: EncoderDecoderCache

    @classmethod
    def start(
        cls, model: PreTrainedModel, prompts: Prompts, prompt_index: Int[Tensor, "B"]
    ) -> "PlainEncoderDecoderDecoding":
        mask = prompts.mask.long()
        encoded = model.get_encoder()(input_ids=prompts.ids, attention_mask=mask).last_hidden_state
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        return cls(model, encoded[prompt_index], mask[prompt_index], cache)

    def first_logits(self) -> Float[Tensor, "B V"]:
        start = self.mask.new_tensor(encoder_decoder.decoder_start(self.model.config))
        return self._read(start.expand(len(self.mask), -1))

    def next_logits(self, token: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
        return self._read(token.unsqueeze(1))

    def _read(self, ids: Int[Tensor, "B S"]) -> Float[Tensor, "B V"]:
        hidden = self.model.get_decoder()(
            input_ids=ids,
            encoder_hidden_states=self.encoded,
            encoder_attention_mask=self.mask,
            cache=self.cache,
            use_cache=True,
        ).last_hidden_state
        return encoder_decoder.logits(self.model, hidden[:, -1])

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        self.cache.batch_select_indices(rows)
        self.encoded, self.mask = self.encoded[rows], self.mask[rows]


@dataclass
class PlainDecoderOnlyDecoding:
    """Prompts are padded on the left here, so that all rows write their next token in the same cache column."""

    model: PreTrainedModel
    mask: Int[Tensor, "B C"]
    cache: Any
    prompt_logits: Float[Tensor, "B V"]

    @classmethod
    def start(
        cls, model: PreTrainedModel, prompts: Prompts, prompt_index: Int[Tensor, "B"]
    ) -> "PlainDecoderOnlyDecoding":
        width = int(prompts.lengths.max())
        columns = torch.arange(width, device=prompts.ids.device) - (width - prompts.lengths).unsqueeze(1)
        mask = (columns >= 0).long()
        ids = prompts.ids.gather(1, columns.clamp(min=0)) * mask
        output = model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=columns.clamp(min=0), use_cache=True,
            cache=DynamicCache(config=model.config),
        )  # fmt: skip
        logits = decoder_only.logits(model, output.last_hidden_state[:, -1])
        cache = output.cache
        cache.batch_select_indices(prompt_index)
        return cls(model, mask[prompt_index], cache, logits[prompt_index])

    def first_logits(self) -> Float[Tensor, "B V"]:
        return self.prompt_logits

    def next_logits(self, token: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        output = self.model.base_model(
            input_ids=token.unsqueeze(1), attention_mask=self.mask, position_ids=self.mask.sum(-1, keepdim=True) - 1,
            cache=self.cache, use_cache=True,
        )  # fmt: skip
        return decoder_only.logits(self.model, output.last_hidden_state[:, -1])

    def keep(self, rows: Int[Tensor, "K"]) -> None:
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]
