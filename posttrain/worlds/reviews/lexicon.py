"""The words of opinion, and the true sentiment of any text, which is what they add up to.

    sentiment = Σ v_i / (1 + n)    over the n opinions of the text, so in (-1, 1); 0 for a text without one

v is ±1/3 for a mild word, ±2/3 for a plain one and ±1 for a strong one. The two words before it may change it, as far
as no other opinion and no punctuation stands between: an intensifier times 1.5 (at most 1 in size), a softener times
1/2, a negation times -1/2: what is not brilliant need not be bad. Nothing else counts: a text that says "superb" forty
times has the sentiment of forty opinions, and what is wrong with it is for other measures to say.
"""

import re
from collections.abc import Iterator

Words = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Mild, plain and strong ones, each the commonest first."""

PRAISE: Words = (
    ("good", "nice", "decent", "solid", "pleasant", "tidy"),
    ("clever", "funny", "charming", "moving", "gripping", "lively", "tender", "elegant"),
    ("wonderful", "superb", "brilliant", "stunning", "dazzling"),
)
BLAME: Words = (
    ("slow", "thin", "plain", "uneven", "weak", "stiff"),
    ("dull", "boring", "clumsy", "silly", "noisy", "tedious", "stale", "shallow"),
    ("awful", "terrible", "dreadful", "horrible", "unbearable"),
)
PRAISING_VERBS, BLAMING_VERBS = ("enjoyed", "liked", "loved", "adored"), ("disliked", "regretted", "hated", "loathed")
PRAISING_NOUNS, BLAMING_NOUNS = ("treat", "gem", "triumph", "masterpiece"), ("bore", "mess", "failure", "disaster")

INTENSIFIERS = ("very", "truly", "utterly")
SOFTENERS = ("rather", "fairly", "slightly")
NEGATIONS = ("never", "not", "hardly")

REACH = 2
"""Words before an opinion that may change it."""

_PART = re.compile(r"[a-z']+|[.,;:!?]")


def _valences() -> dict[str, float]:
    graded = {word: sign * strength / 3 for sign, words in ((1, PRAISE), (-1, BLAME))
              for strength, some in enumerate(words, 1) for word in some}  # fmt: skip
    for sign, words in ((1, PRAISING_VERBS), (1, PRAISING_NOUNS), (-1, BLAMING_VERBS), (-1, BLAMING_NOUNS)):
        graded |= {word: sign * (2 if place < 2 else 3) / 3 for place, word in enumerate(words)}
    return graded


VALENCES = _valences()
"""Every word of opinion, with its value where nothing changes it."""


def sentiment(text: str) -> float:
    """The true sentiment of any text, in (-1, 1)."""
    values = list(opinions(text))
    return sum(values) / (1 + len(values))


def opinions(text: str) -> Iterator[float]:
    """The value of each opinion, in the order of the text. Case is ignored."""
    parts = _PART.findall(text.lower())
    for place, part in enumerate(parts):
        if part in VALENCES:
            yield _changed(VALENCES[part], parts[max(0, place - REACH) : place])


def _changed(value: float, before: list[str]) -> float:
    for part in reversed(before):
        if part in VALENCES or not part[0].isalpha():
            break
        if part in INTENSIFIERS:
            value = max(-1.0, min(1.0, 1.5 * value))
        elif part in SOFTENERS:
            value = 0.5 * value
        elif part in NEGATIONS:
            value = -0.5 * value
    return value
