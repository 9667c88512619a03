"""Decoding whatever the model does, with transformers' growing cache."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from posttrain.batches import Prompts
from posttrain.models.decoding.shared import FULL_ENOUGH
from posttrain.models.families import decoder_only, encoder_decoder


@dataclass
class PlainEncoderDecoderDecoding:
    full_enough: ClassVar[float] = FULL_ENOUGH
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

    full_enough: ClassVar[float] = FULL_ENOUGH
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
