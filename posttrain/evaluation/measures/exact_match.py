"""Whether a response is word for word one of the prompt's references: for questions that have one right answer."""

from collections.abc import Sequence

from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.settings import Settings

NAME = "exact_match"


class Config(Settings):
    pass


def measure(responses: Sequence[str], prompts: Sequence[Prompt], config: Config) -> list[float]:
    """1 or 0 per response; how much white space is between words does not matter. InputError without references."""
    return [
        float(response.split() in [reference.split() for reference in _references(prompt)])
        for response, prompt in zip(responses, prompts, strict=True)
    ]


def _references(prompt: Prompt) -> tuple[str, ...]:
    if not prompt.references:
        raise InputError(f"prompt {prompt.id or prompt.text[:60]!r} has no references: exact_match needs at least one")
    return prompt.references
