"""A conversation as the tokens that a chat model was trained on, through its tokenizer's own template."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import TemplateError

from posttrain.errors import InputError


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


def without_control_tokens(text: str, tokenizer: Any) -> str:
    """The text without the tokenizer's special tokens, with which it could end its turn and speak as another role."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    special = sorted({*tokenizer.all_special_tokens, *added} - {""}, key=len, reverse=True)
    if not special:
        return text
    pattern = re.compile("|".join(re.escape(token) for token in special))
    while pattern.search(text):  # taking one out can join the halves of another
        text = pattern.sub("", text)
    return text


def render(messages: Sequence[Message], tokenizer: Any) -> list[int]:
    """Token ids of the conversation so far and of the beginning of the assistant's turn."""
    assert tokenizer.chat_template is not None, "only a tokenizer with a chat template can render a conversation"
    turns = [{"role": turn.role, "content": without_control_tokens(turn.content, tokenizer)} for turn in messages]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except (TemplateError, ValueError) as error:
        raise InputError(f"the tokenizer's chat template refuses the conversation: {error}") from error
    return tokenizer(text, add_special_tokens=False).input_ids
