"""Characters of a response ↔ its tokens. Text that was decoded is never encoded again, so that no span can shift.

What a response's tokens are to its text is one list: `ends[t]` is the number of characters that are complete once
token t has been read. It never falls. A token that shows nothing (an end token, the first bytes of a character that
takes several tokens) has the end of the one before it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from posttrain.batches import Rollout
from posttrain.data.segments import Span

NO_CHARACTER = "\ufffd"
"""What a decoder writes for bytes that are no character, such as the first ones of a character that was cut."""


def columns_of(span: Span, ends: Sequence[int]) -> tuple[int, int] | None:
    """(first, last) token of a span: the first that shows a character of it, the one that completes it.

    None where the tokens end before the span does.
    """
    start, end = span
    last = bisect_left(ends, end)
    return (min(bisect_right(ends, start), last), last) if last < len(ends) else None


def span_of(columns: tuple[int, int], ends: Sequence[int], text: str) -> Span:
    """The characters that tokens first ... last show, without white space around them."""
    first, last = columns
    start, end = (ends[first - 1] if first else 0), ends[last]
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def ends_of_offsets(offsets: Sequence[Span]) -> list[int]:
    """`ends` from a tokenizer's offsets, which give each token of a split character the whole of it."""
    ends: list[int] = []
    following = len(offsets) and max(end for _, end in offsets)
    for start, end in reversed(offsets):
        ends.append(min(end, following))
        following = min(following, start) if end > start else following
    return list(accumulate(reversed(ends), max))


class TextColumns:
    """`ends` of responses that a model has written, for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:  # a transformers tokenizer
        self.tokenizer = tokenizer
        self._anchor: list[int] = tokenizer("a", add_special_tokens=False).input_ids[-1:]
        self._anchor_text = self._decode(self._anchor)
        self._pieces: dict[int, str] = {}

    def ends(self, ids: Sequence[int], text: str) -> list[int]:
        """Of each token, the characters of `text` that are complete with it.

        `text` is what the ids say without white space around it, as in `Rollout.texts`.
        """
        said = self._decode(ids)
        assert said.strip() == text, "the text is not what the tokens say"
        cut = len(said) - len(said.lstrip())
        return [min(max(end - cut, 0), len(text)) for end in self._ends(ids, said)]

    def ends_of(self, rollout: Rollout) -> list[list[int]]:
        """`ends` of each response."""
        sequences = rollout.sequences
        rows = zip(sequences.response_ids, sequences.response_mask, rollout.texts, strict=True)
        return [self.ends(ids[mask].tolist(), text) for ids, mask, text in rows]

    def _ends(self, ids: Sequence[int], said: str) -> list[int]:
        pieces = [self._piece(id) for id in ids]
        joined = "".join(pieces)
        if joined == said or joined[1:] == said:  # decoders drop a blank that is the first character
            return [end - len(joined) + len(said) for end in accumulate(map(len, pieces))]
        # characters of several tokens, and decoders that change what is between tokens
        shown = [self._decode(ids[: t + 1]) for t in range(len(ids))]
        last_of = {len(one): t for t, (one, piece) in enumerate(zip(shown, pieces, strict=True)) if piece}
        ends = list(accumulate((_num_shared(one, said) for one in shown), max))
        for t, end in enumerate(ends):
            # bytes that are no character yet, or never, show as one that is: it is complete with the last of them
            while end and said[end - 1] == NO_CHARACTER and last_of.get(end, t) > t:
                end -= 1
            ends[t] = end
        return ends

    def _piece(self, id: int) -> str:
        """What a token adds to a text; looked up once."""
        if id not in self._pieces:
            self._pieces[id] = self._decode([*self._anchor, id]).removeprefix(self._anchor_text)
        return self._pieces[id]

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)


def _num_shared(one: str, other: str) -> int:
    """Characters at the beginning that both have."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
