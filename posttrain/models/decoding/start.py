"""Token-by-token decoding with a key-value cache, for either family.

    recorded.py      on a GPU, written_out's token as a CUDA graph
    written_out.py   Llama, Qwen2, Qwen3 and T5: a token's forward written out here, over the model's own weights
    shared.py        GPT-2 and BART: the model's own forward, with layouts
    plain.py         any other model: its own forward, with transformers' cache; prompts are repeated for their samples

Prompts are run once each.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from posttrain.batches import Prompts
from posttrain.models.decoding.plain import PlainDecoderOnlyDecoding, PlainEncoderDecoderDecoding
from posttrain.models.decoding.recorded import RecordedDecoding, can_be_recorded
from posttrain.models.decoding.shared import DecoderOnlyDecoding, EncoderDecoderDecoding
from posttrain.models.decoding.written_out import LlamaDecoding, T5Decoding, is_written_out
from posttrain.models.families import decoder_only, encoder_decoder


class Decoder(Protocol):
    full_enough: ClassVar[float]
    """Rows that have ended leave when at most this share is going on."""

    def first_logits(self) -> Float[Tensor, "B V"]: ...
    def next_logits(self, token: Int[Tensor, "B"]) -> Float[Tensor, "B V"]: ...
    def keep(self, rows: Int[Tensor, "K"]) -> None: ...


@runtime_checkable
class Joinable(Protocol):
    """A decoder whose rows need not have begun together."""

    def join(self, other: Any) -> None: ...


def start_decoding(
    model: PreTrainedModel, prompts: Prompts, prompt_index: Int[Tensor, "B"], num_new_tokens: int
) -> Decoder:
    """Run the prompts, which stand by length, and make ready to write one response for each entry of `prompt_index`.

    Entries ascend: rows of one prompt stand together.
    """
    if model.config.is_encoder_decoder:
        if encoder_decoder.has_plain_attention(model):
            kind = T5Decoding if is_written_out(model) else EncoderDecoderDecoding
            return _recorded(kind.start(model, prompts, prompt_index, num_new_tokens), model)
        return PlainEncoderDecoderDecoding.start(model, prompts, prompt_index)
    if decoder_only.has_plain_attention(model):
        kind = LlamaDecoding if is_written_out(model) else DecoderOnlyDecoding
        return _recorded(kind.start(model, prompts, prompt_index, num_new_tokens), model)
    return PlainDecoderOnlyDecoding.start(model, prompts, prompt_index)


def _recorded(decoding: Decoder, model: PreTrainedModel) -> Decoder:
    if isinstance(decoding, LlamaDecoding | T5Decoding) and can_be_recorded(model):
        return RecordedDecoding(decoding)
    return decoding
