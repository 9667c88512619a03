"""Who is asked what, and which response stands on which side: pure functions of the project's secret.

Nothing here is drawn at the moment of asking: the same annotator, task and turn give the same answer, so that a page
that is loaded again looks as it did.
"""

import hashlib
import hmac
import math
import random
from collections.abc import Sequence
from typing import Literal

from posttrain.annotation.records import Arm

Kind = Literal["ordinary", "gold", "repeat"]

SIDE_BLOCK = 4
"""Of so many pairs in a row, an annotator sees half with the first response left."""


def keyed(secret: bytes, *parts: object) -> int:
    """A number from 0 to 2^64 - 1 that only the owner of the secret can predict."""
    message = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hmac.digest(secret, message, hashlib.sha256)[:8], "big")


def fraction(secret: bytes, *parts: object) -> float:
    """`keyed` as a number in [0, 1)."""
    return (keyed(secret, *parts) >> 11) / 2**53


def order_shown(secret: bytes, annotator: str, task: int, turn: int, responses: Sequence[int]) -> tuple[int, ...]:
    """The responses in the order in which this annotator sees them.

    Of two, each side comes first in half of every `SIDE_BLOCK` turns, in an order that nobody can foresee; of more,
    every order is as likely as any other.
    """
    if len(responses) == 2:
        block, place = divmod(turn, SIDE_BLOCK)
        is_swapped = [True, False] * (SIDE_BLOCK // 2)
        _generator(secret, "sides", annotator, block).shuffle(is_swapped)
        return (responses[1], responses[0]) if is_swapped[place] else tuple(responses)
    shuffled = list(responses)
    _generator(secret, "order", annotator, task).shuffle(shuffled)
    return tuple(shuffled)


def other_way_round(shown: Sequence[int]) -> tuple[int, ...]:
    """The order of a repeated task: a person who answers by the side, not by the text, contradicts himself."""
    return tuple(reversed(shown))


def arm_of_turn(turn: int, random_share: float) -> Arm:
    """Of the first n ordinary tasks of an annotator, at least n * random_share are of the random arm, for every n."""
    return "random" if math.ceil((turn + 1) * random_share) > math.ceil(turn * random_share) else "active"


def kind_of_turn(secret: bytes, annotator: str, num_claims: int, gold_share: float, repeat_share: float) -> Kind:
    """Which kind comes after `num_claims` tasks of any kind, where there is one of it."""
    drawn = fraction(secret, "kind", annotator, num_claims)
    if drawn < gold_share:
        return "gold"
    return "repeat" if drawn < gold_share + repeat_share else "ordinary"


def _generator(secret: bytes, *parts: object) -> random.Random:
    return random.Random(keyed(secret, *parts))
