"""ROUGE-L: the longest common subsequence of response and reference, as F1; the best of a prompt's references counts.

Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries", in Google's `rouge-score`, which lowercases and
keeps only the letters a-z and digits: text in another script scores 0.
"""

import re
from collections.abc import Sequence
from typing import Literal

from rouge_score.rouge_scorer import RougeScorer

from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.settings import Settings

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


NAME = "rougeL"


class Config(Settings):
    variant: Literal["rougeL", "rougeLsum"] = "rougeL"  # rougeLsum takes the union over sentences, for summaries
    use_stemmer: bool = False  # Porter stems, so that "wins" matches "winning"


def sentences_on_lines(text: str) -> str:
    """Put each sentence on its own line, which is where rougeLsum splits.

    # Differs from Hugging Face's summarization example: punctuation followed by space ends a sentence (no nltk model).
    """
    return _SENTENCE_END.sub("\n", text.strip())


def measure(responses: Sequence[str], prompts: Sequence[Prompt], config: Config) -> list[float]:
    """F1 in [0, 1] per prompt; an empty response scores 0. Raises InputError for a prompt without references."""
    scorer = RougeScorer([config.variant], use_stemmer=config.use_stemmer)
    prepare = sentences_on_lines if config.variant == "rougeLsum" else str
    scores = []
    for place, (response, prompt) in enumerate(zip(responses, prompts, strict=True)):
        if not prompt.references:
            raise InputError(f"prompt {prompt.id or place} has no references: ROUGE needs at least one")
        scores.append(
            max(
                float(scorer.score(prepare(reference), prepare(response))[config.variant].fmeasure)
                for reference in prompt.references
            )
        )
    return scores
