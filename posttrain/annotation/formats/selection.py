"""What of a project goes into a file: which arm, whether items that only check annotators, what is held out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from posttrain.annotation.formats.exchange import without_zeros
from posttrain.annotation.records import Arm, Item, Vote
from posttrain.annotation.which_next import prompts_by_chance


@dataclass(frozen=True)
class Selected:
    items: tuple[Item, ...]
    votes: tuple[Vote, ...]  # on these items
    left_out: dict[str, int]


def select(
    items: Sequence[Item],
    votes: Sequence[Vote],
    arm: Arm | None = None,
    should_keep_gold: bool = False,
    annotators: Collection[str] | None = None,
) -> Selected:
    """Items of one arm (None: both) and the votes on them of some annotators (None: all).

    Gold items stay out unless they are asked for: they were made to check annotators, not drawn from a model.
    """
    of_arm = [item for item in items if arm is None or item.arm == arm]
    kept = [item for item in of_arm if should_keep_gold or not item.gold]
    ids = {item.id for item in kept}
    on_kept = [vote for vote in votes if vote.item in ids]
    chosen = [vote for vote in on_kept if annotators is None or vote.annotator in annotators]
    left_out = {
        "items of the other arm": len(items) - len(of_arm),
        "gold items": len(of_arm) - len(kept),
        "votes of other annotators": len(on_kept) - len(chosen),
    }
    return Selected(tuple(kept), tuple(chosen), without_zeros(left_out))


def held_out(items: Sequence[Item], seed: int, share: float = 0.2) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """(items to train on, items to evaluate on), which share no prompt.

    Where pairs were also asked because reward models disagreed, the random arm is for evaluation, as it is the only
    sample of what a policy writes; else `share` of the prompts are, by chance.
    """
    active = {item.prompt.text for item in items if item.arm == "active"}
    every = {item.prompt.text for item in items}
    kept_apart = every - active if active else prompts_by_chance(items, seed, share)
    return (
        tuple(item for item in items if item.prompt.text not in kept_apart),
        tuple(item for item in items if item.prompt.text in kept_apart),
    )
