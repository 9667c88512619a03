"""Which pairs to ask next: where reward models disagree, beside an arm of prompts drawn by chance and kept apart.

An ensemble is uncertain about the pairs on which its members' score differences vary (Lakshminarayanan et al. 2017,
arXiv:1612.01474; for preferences Christiano et al. 2017, arXiv:1706.03741, section 2.2.4). Pairs chosen so are no
sample of what a policy writes, so that accuracy and agreement are measured on the random arm only. Its prompts are
fixed by a hash before anything is scored: no prompt is in both arms.
"""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from posttrain.annotation.records import Arm, Item
from posttrain.errors import InputError

LEAST_RANDOM_SHARE = 0.2

Scores = Mapping[str, Sequence[Sequence[float]]]
"""Of an item, by its id: the scores [models, responses] that an ensemble gives its responses."""


@dataclass(frozen=True)
class Ask:
    """A pair of an item to ask, first < second. `variance` is that of the ensemble, 0 without one."""

    item: str
    first: int
    second: int
    arm: Arm
    variance: float = 0.0


def which_next(
    items: Sequence[Item],
    num: int,
    seed: int,
    scores: Scores | None = None,
    random_share: float = LEAST_RANDOM_SHARE,
    asked: Collection[tuple[str, int, int]] = (),
    fixed: Mapping[str, Arm] | None = None,
) -> list[Ask]:
    """Up to `num` pairs that were not `asked`, the random arm first, the same for the same arguments.

    `items` are all of the project, asked or not, so that their arms stay what they are; `fixed` are arms, by item, that
    were drawn before. Without scores every pair is drawn by chance. Fewer than `num` come where the random arm is used
    up: the active one never has more than its share of what is returned.
    """
    _check(num, random_share)
    done = {(item, *sorted(pair)) for item, *pair in asked}
    arms = arms_of(items, seed, random_share if scores is not None else 1.0, fixed)
    found: dict[Arm, list[Ask]] = {"random": [], "active": []}
    variances = _variances(items, scores) if scores is not None else {}
    for item in items:
        for first, second in combinations(range(len(item.responses)), 2):
            if (item.id, first, second) not in done:
                arm = arms[item.id]
                found[arm].append(Ask(item.id, first, second, arm, variances.get((item.id, first, second), 0.0)))
    if scores is None:
        return _by_chance([*found["random"], *found["active"]], seed)[:num]
    by_chance = _by_chance(found["random"], seed)
    chosen = by_chance[: math.ceil(random_share * num)]
    most = min(num - len(chosen), _most_active(len(chosen), random_share))
    active = sorted(found["active"], key=lambda ask: (-ask.variance, _draw(seed, ask.item, ask.first, ask.second)))
    return [*chosen, *active[:most]]


def arms_of(
    items: Sequence[Item],
    seed: int,
    random_share: float = LEAST_RANDOM_SHARE,
    fixed: Mapping[str, Arm] | None = None,
) -> dict[str, Arm]:
    """The arm of each item, by its prompt: of the prompts, `random_share` by the order of their hashes are random.

    Prompts of `fixed` items keep their arm; one that was ever active stays so, since it was chosen by disagreement.
    """
    _check(0, random_share)
    known: dict[str, Arm] = {}
    for item in items:
        if fixed is not None and item.id in fixed and known.get(item.prompt.text) != "active":
            known[item.prompt.text] = fixed[item.id]
    drawn = prompts_by_chance([item for item in items if item.prompt.text not in known], seed, random_share)
    return {item.id: known.get(item.prompt.text, "random" if item.prompt.text in drawn else "active") for item in items}


def prompts_by_chance(items: Sequence[Item], seed: int, share: float) -> set[str]:
    """A share of the prompts, rounded up, that depends on nothing but the seed and which prompts there are."""
    prompts = sorted({item.prompt.text for item in items}, key=lambda prompt: _draw(seed, prompt))
    return set(prompts[: math.ceil(share * len(prompts))])


def _by_chance(asks: Sequence[Ask], seed: int) -> list[Ask]:
    return sorted(asks, key=lambda ask: _draw(seed, ask.item, ask.first, ask.second))


def _variances(items: Sequence[Item], scores: Scores) -> dict[tuple[str, int, int], float]:
    """Var_m (s_m(first) − s_m(second)) / r_m² over models m, r_m being m's root mean square difference.

    Reward models have no common scale, and the one with the widest would else decide alone.
    """
    differences: dict[tuple[str, int, int], list[float]] = {}
    for item in items:
        own = _scores_of(item, scores)
        for first, second in combinations(range(len(item.responses)), 2):
            differences[item.id, first, second] = [of_model[first] - of_model[second] for of_model in own]
    num_models = {len(found) for found in differences.values()}
    if len(num_models) > 1 or num_models & {0, 1}:
        raise InputError(f"scores are of {sorted(num_models)} models; give each item the scores of the same 2 or more")
    spreads = [
        math.sqrt(sum(one[m] ** 2 for one in differences.values()) / len(differences)) or 1.0
        for m in range(max(num_models, default=0))
    ]
    scaled = {pair: [d / r for d, r in zip(found, spreads, strict=True)] for pair, found in differences.items()}
    return {pair: _variance(found) for pair, found in scaled.items()}


def _scores_of(item: Item, scores: Scores) -> Sequence[Sequence[float]]:
    if item.id not in scores:
        raise InputError(f"item {item.id} has no scores; score every item, or give no scores at all")
    own = scores[item.id]
    if any(len(of_model) != len(item.responses) for of_model in own):
        raise InputError(f"item {item.id} has {len(item.responses)} responses; each model needs a score for each")
    if not all(math.isfinite(score) for of_model in own for score in of_model):
        raise InputError(f"item {item.id} has a score that is no finite number; mend the reward model")
    return own


def _variance(values: Sequence[float]) -> float:
    """Unbiased."""
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _most_active(num_random: int, random_share: float) -> int:
    """The most that leaves `num_random` its share of all."""
    return math.floor(num_random * (1 - random_share) / random_share + 1e-9)  # 1 · 0.8/0.2 is 3.9999999999999996


def _check(num: int, random_share: float) -> None:
    if num < 0:
        raise InputError(f"num is {num}; ask for 0 pairs or more")
    if not LEAST_RANDOM_SHARE <= random_share <= 1:
        raise InputError(
            f"random_share is {random_share}; at least {LEAST_RANDOM_SHARE} of what is asked is drawn by chance, "
            "or nothing could be measured with it"
        )


def _draw(seed: int, *key: object) -> bytes:
    """A place in a random order that depends on nothing but the seed and the key."""
    return hashlib.sha256(repr((seed, *key)).encode()).digest()
