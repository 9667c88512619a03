"""Attention over tokens that are laid out so that nothing is computed twice and little of it is padding.

Transformers lets a model's attention be a function of ours; everything else of its forward stays its own. A `Layout`
says which token sees which; `attending` puts it in charge of all attention of a model for one forward.

    packed.Packed          texts one behind the other in one row: linear layers see no padding at all
    branching.Branching    prompts in one row of tokens, each followed by all of its responses
    crossing.Crossing      whole responses, in a decoder with an encoder, which share prompts
    growing.Continuing     a new token of each row sees a prompt that rows share, and what its own row has written
    growing.Decoding       the same in a decoder with an encoder: prompts and own tokens are seen by layers of their own
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

NAME = "posttrain"
"""Of the attention function, in transformers' registry. No mask is registered for it, so none is built."""


@runtime_checkable
class Layout(Protocol):
    def attend(
        self,
        layer: int,
        query: Float[Tensor, "N H S E"],
        key: Float[Tensor, "N J T E"],
        value: Float[Tensor, "N J T E"],
        scaling: float,
        bias: Float[Tensor, "1 H S T"] | None,
    ) -> Float[Tensor, "N H S E"]:
        """What each query reads. J heads of keys and values serve H heads of queries; `bias` is added to the scores."""
        ...


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float, layout: Layout, dropout: float = 0.0, position_bias: Tensor | None = None, **unused: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    assert dropout == 0.0, "layouts are for models that drop nothing"
    assert isinstance(module.layer_idx, int)
    return layout.attend(module.layer_idx, query, key, value, scaling, position_bias).transpose(1, 2), None


AttentionInterface.register(NAME, _attend)


@contextmanager
def attending(model: PreTrainedModel) -> Iterator[None]:
    """Within, `layout=` is to be given to the model's forward."""
    config: Any = model.config
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
