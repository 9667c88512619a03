"""Text → spans: the whole answer, its sentences, its sub-sentences, or what a pattern finds.

A span is (start, end) in characters, the end exclusive, without white space at either end. The spans of a segmenter
come from left to right and do not overlap. Units are those of Wu et al. 2023, arXiv:2306.01693, section 3.1.
"""

import re
from collections.abc import Callable, Iterator
from typing import Literal

Span = tuple[int, int]
Segmenter = Callable[[str], list[Span]]
Segments = Literal["whole", "sentence", "sub_sentence"]

MIN_WORDS = 5
"""Words of a sub-sentence, at least; a shorter piece goes with the one after it."""

_ABBREVIATIONS = """
mr mrs ms dr prof rev gen col sgt capt lt gov sen rep hon st mt ft jr sr vs etc inc ltd co corp bros dept est no nos vol
fig eq ed eds pp ch approx ca cf al e.g i.e a.m p.m jan feb mar apr jun jul aug sep sept oct nov dec
"""
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
"""Words, in lower case, whose full stop ends no sentence."""
_STARTS = """
The This These Those That It Its He His She Her They Their There We In On At As By For From After Before During While
When Although Since Each Both Some Many But And However
"""
_LAST_WORDS = frozenset(["a.m", "p.m", "etc", "inc", "ltd", "co", "corp", "jr", "sr"])
_FIRST_WORDS = frozenset(_STARTS.split())
"""Words that begin a sentence, even after an initial or one of the last words ("Washington, D.C. The ...")."""

# a full stop, or several marks, with the quotes and brackets that close after them; or a line break
_END = re.compile(r"[.!?…。！？]+[\"'”’)\]»]*(?=\s|$)|\n")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_NEXT_WORD = re.compile(r"\s+[\"“‘'(]*(\w*)")
_PIECE_END = re.compile(r"[,;!?][\"'”’)\]»]*(?!\d)")
_WORD = re.compile(r"\S+")


def whole(text: str) -> list[Span]:
    """The text as one span; none if it is blank."""
    return list(_trimmed(text, [(0, len(text))]))


def sentences(text: str) -> list[Span]:
    """Sentences by their marks: . ! ? followed by white space or the end, and line breaks.

    No sentence ends after an abbreviation or an initial ("J. K. Rowling"), unless the text does or the next word
    begins a sentence; nor at ! ? ... before a small letter ("How the Grinch Stole Christmas! is a film").
    """
    ends = [found.end() for found in _END.finditer(text) if not _is_within(text, found)]
    return list(_trimmed(text, _between(ends, len(text))))


def sub_sentences(text: str) -> list[Span]:
    """Sentences cut after each , ; ! ? into pieces of at least `MIN_WORDS` words.

    A piece with fewer goes with the one after it, the last of a sentence with the one before it.
    """
    found: list[Span] = []
    for start, end in sentences(text):
        ends = [match.end() - start for match in _PIECE_END.finditer(text, start, end)]
        pieces = _trimmed(text, [(start + first, start + last) for first, last in _between(ends, end - start)])
        found += _joined(text, list(pieces))
    return found


def words(text: str) -> list[Span]:
    """What white space separates."""
    return [found.span() for found in _WORD.finditer(text)]


def matches(pattern: str) -> Segmenter:
    """A segmenter of one's own: the matches of a regular expression. Raises re.error for one that is none."""
    expression = re.compile(pattern)
    return lambda text: list(_trimmed(text, [found.span() for found in expression.finditer(text)]))


SEGMENTERS: dict[Segments, Segmenter] = {"whole": whole, "sentence": sentences, "sub_sentence": sub_sentences}


def segmenter(segments: Segments, pattern: str | None = None) -> Segmenter:
    """The segmenter of a configuration; a `pattern` takes the place of the named ones."""
    return matches(pattern) if pattern is not None else SEGMENTERS[segments]


def _is_within(text: str, found: re.Match[str]) -> bool:
    """Whether the sentence goes on after these marks."""
    following = _NEXT_WORD.match(text, found.end())
    if found.group() == "\n" or following is None or not text[found.end() :].strip():
        return False
    first = following.group(1)
    if found.group() != ".":
        return first[:1].islower()
    word = re.search(r"\S*$", text[: found.start()])
    assert word is not None
    bare = word.group().lstrip("\"'“‘([").lower()
    is_initial = _INITIALS.fullmatch(bare) is not None
    if first in _FIRST_WORDS and (is_initial or bare in _LAST_WORDS):
        return False
    return is_initial or bare in ABBREVIATIONS


def _between(ends: list[int], length: int) -> list[Span]:
    starts = [0, *ends]
    return list(zip(starts, [*ends, length], strict=True))


def _trimmed(text: str, spans: list[Span]) -> Iterator[Span]:
    """The spans without white space around them; none that is blank."""
    for start, end in spans:
        piece = text[start:end]
        if piece.strip():
            first = start + len(piece) - len(piece.lstrip())
            yield first, first + len(piece.strip())


def _joined(text: str, pieces: list[Span]) -> list[Span]:
    joined: list[Span] = []
    is_short = False  # the last of `joined` has too few words yet
    for start, end in pieces:
        if is_short:
            start = joined.pop()[0]
        joined.append((start, end))
        is_short = len(text[start:end].split()) < MIN_WORDS
    if is_short and len(joined) > 1:
        _, end = joined.pop()
        joined[-1] = (joined[-1][0], end)
    return joined
