"""ROUGE-Lsum: ROUGE-L over sentences, each of a reference against the union of the whole response (Lin 2004, 3.2).

The order of sentences does not matter, so that it fits long answers better than ROUGE-L does.
"""

from collections.abc import Sequence

from posttrain.data.records import Prompt
from posttrain.evaluation.measures import rouge
from posttrain.settings import Settings

NAME = "rougeLsum"


class Config(Settings):
    use_stemmer: bool = False  # as of `rouge`


def measure(responses: Sequence[str], prompts: Sequence[Prompt], config: Config) -> list[float]:
    """F1 in [0, 1] per prompt, as `rouge` does with `variant: rougeLsum`."""
    return rouge.measure(responses, prompts, rouge.Config(variant="rougeLsum", use_stemmer=config.use_stemmer))
