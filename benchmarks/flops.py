"""Floating-point operations that a workload cannot do without: products with weights, of each token once.

Not counted: attention's products of tokens with tokens, norms, padding, prompts read again for other responses, logits
of prompts, and what is computed a second time in a backward pass. Prompts are read once a batch, or once a pass.
"""

from typing import Any

from benchmarks.shapes import SHAPES, VOCABULARY

BACKWARD = 3
"""A backward pass costs two forwards: gradients of inputs and of weights."""


def forward_gflop(shape: str, prompt_tokens: float, response_tokens: float, is_with_head: bool) -> float:
    config: Any = SHAPES[shape]
    if config.is_encoder_decoder:
        inner = config.num_heads * config.d_kv
        attention, feed = 4 * config.d_model * inner, 2 * config.d_model * config.d_ff
        of_prompt = config.num_layers * (attention + feed) + config.num_decoder_layers * attention / 2
        of_response = config.num_decoder_layers * (1.5 * attention + feed)
        width = config.d_model
    else:
        width, queries = config.hidden_size, config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        feed = 3 * width * config.intermediate_size
        of_response = config.num_hidden_layers * (width * (2 * queries + 2 * keys) + feed)
        of_prompt = of_response - feed  # nobody asks for its last states
    head = width * VOCABULARY if is_with_head else 0
    return 2e-9 * (prompt_tokens * of_prompt + response_tokens * (of_response + head))
