"""Where a reward is written: judged spans of the responses → a stream of values at the last tokens of the spans.

One list of judgements for each response, and a density that says where they are summed, so that a response's total
is the same at every density. No judgement is paid before the tokens that it judges, nor at a token that the policy did
not choose: a span that ends with such tokens is paid at the last one before them that the policy chose.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import torch

from posttrain.batches import RewardStream, Rollout
from posttrain.data.records import Prompt
from posttrain.data.segments import SEGMENTERS, Span
from posttrain.data.text_columns import TextColumns, columns_of

Density = Literal["own", "token", "sub_sentence", "sentence", "whole"]
"""A reward's own spans, or its tokens: nothing is summed; or the segments at whose ends judgements are summed."""


def reads_text(density: Density) -> bool:
    """Whether the segments of a density have to be looked up in the text."""
    return density in SEGMENTERS and density != "whole"


class Judged(NamedTuple):
    """What a reward says of the tokens first ... last of a response."""

    first: int
    last: int
    value: float


def judged(spans: Iterable[tuple[Span, float]], ends: Sequence[int]) -> list[Judged]:
    """Judgements of characters as judgements of tokens; `ends` as in data/text_columns.py."""
    found: list[Judged] = []
    if not ends:  # a response without tokens, so without text
        return found
    for span, value in spans:
        columns = columns_of(span, ends)
        assert columns is not None, "a policy's tokens show the whole of its text"
        found.append(Judged(*columns, value))
    return found


def written(
    name: str,
    rollout: Rollout,
    judgements: Sequence[Iterable[Judged]],
    density: Density = "own",
    ends: Sequence[Sequence[int]] | None = None,
) -> RewardStream:
    """The stream of all judgements of each response, summed where several meet.

    At a density of segments every segment is judged, with 0 where nothing in it was; what follows the last one (an end
    token) counts at the response's last token. `ends` of each response are needed for sentences and sub-sentences.
    """
    action_mask = rollout.sequences.action_mask
    values = [[0.0] * len(row) for row in action_mask.tolist()]
    mask = [[False] * len(row) for row in values]
    for row, actions in enumerate(action_mask.tolist()):
        chosen = [column for column, is_action in enumerate(actions) if is_action]
        stops = _stops(rollout.texts[row], density, chosen, ends[row] if ends is not None else ())
        for column in stops:
            mask[row][column] = True
        for first, last, value in judgements[row]:
            column = _last_of(chosen, first, last)
            if column is None:  # the policy chose nothing of what is judged
                continue
            if density in SEGMENTERS:
                place = bisect_left(stops, column)
                column = stops[place] if place < len(stops) else chosen[-1]
            values[row][column] += value
            mask[row][column] = True
    device = rollout.logprobs.device
    return RewardStream(name, torch.tensor(values, device=device), torch.tensor(mask, device=device))


def written_each(
    name: str,
    rollout: Rollout,
    columns: TextColumns,
    density: Density,
    judge: Callable[[Prompt, str, list[int]], list[Judged]],
) -> RewardStream:
    """The stream of a reward that looks at each response by itself: `judge(prompt, text, ends)`."""
    ends = columns.ends_of(rollout)
    rows = zip(rollout.examples, rollout.texts, ends, strict=True)
    return written(name, rollout, [judge(prompt, text, own) for prompt, text, own in rows], density, ends)


def _stops(text: str, density: Density, chosen: Sequence[int], ends: Sequence[int]) -> Sequence[int]:
    """Where the segments of a density are paid, from left to right; none for the densities that sum nothing."""
    if density == "whole":
        return chosen[-1:]
    if density in ("own", "token"):
        return ()
    segments = judged(((span, 0.0) for span in SEGMENTERS[density](text)), ends)
    places = (_last_of(chosen, segment.first, segment.last) for segment in segments)
    return sorted({place for place in places if place is not None})


def _last_of(chosen: Sequence[int], first: int, last: int) -> int | None:
    """The last chosen column of first ... last; None if there is none."""
    place = bisect_left(chosen, last + 1) - 1
    return chosen[place] if place >= 0 and chosen[place] >= first else None
