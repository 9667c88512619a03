"""Which pairs come next: the arms by hand and in all cases, and what they must not depend on."""

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.annotation.which_next import Ask, arms_of, which_next
from posttrain.errors import InputError
from tests.annotation.votes import item

ITEMS = [item(f"i{i}", texts=("a", "b", "c"), models=("",) * 3) for i in range(40)]


def _scores(items=ITEMS, seed=0, num_models=3):
    draw = random.Random(seed)
    return {one.id: [[draw.gauss(0, 1) for _ in one.responses] for _ in range(num_models)] for one in items}


def test_variance_by_hand():
    """Two models of equal spread say +2 and −2 of one pair, +2 and +2 of the other: it asks the first.

    Differences (2, −2) and (2, 2): root mean squares 2 and 2; scaled (1, −1) and (1, 1); variances 2 and 0.
    """
    items = [item(f"i{i}", prompt=f"p{i}") for i in range(2)]
    scores = {"i0": [[2.0, 0.0], [0.0, 2.0]], "i1": [[2.0, 0.0], [2.0, 0.0]]}
    found = which_next(items, 2, 0, scores)
    assert {ask.item: ask.variance for ask in found} == pytest.approx({"i0": 2.0, "i1": 0.0}, abs=1e-12)
    assert [ask.arm for ask in found] == ["random", "active"]


def test_the_scale_of_a_model_does_not_matter():
    scores = _scores()
    louder = {name: [[100 * score for score in own[0]], *own[1:]] for name, own in scores.items()}
    shifted = {name: [[score + 7 for score in of_model] for of_model in own] for name, own in scores.items()}
    asked = [(ask.item, ask.first, ask.second, ask.arm) for ask in which_next(ITEMS, 30, 0, scores)]
    for other in (louder, shifted):
        assert [(ask.item, ask.first, ask.second, ask.arm) for ask in which_next(ITEMS, 30, 0, other)] == asked


def test_the_active_arm_is_asked_by_variance():
    active = [ask for ask in which_next(ITEMS, 20, 3, _scores()) if ask.arm == "active"]
    assert len(active) == 16
    assert [ask.variance for ask in active] == sorted((ask.variance for ask in active), reverse=True)
    arms = arms_of(ITEMS, 3)
    every = which_next([one for one in ITEMS if arms[one.id] == "active"], 10_000, 3)
    assert {(ask.item, ask.first, ask.second) for ask in active} <= {(a.item, a.first, a.second) for a in every}


def test_the_random_arm_does_not_look_at_scores():
    one, other = (which_next(ITEMS, 20, 3, _scores(seed=seed)) for seed in (0, 1))
    chance = [[(ask.item, ask.first, ask.second) for ask in found if ask.arm == "random"] for found in (one, other)]
    assert chance[0] == chance[1]
    assert len(chance[0]) == 4


@given(
    st.integers(1, 12), st.integers(0, 60), st.integers(0, 5), st.sampled_from([0.2, 0.25, 0.5, 0.99, 1.0]), st.data()
)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_at_least_the_share_is_random_and_no_prompt_is_in_both_arms(num_items, num, seed, share, data):
    items = [item(f"i{i}", texts=("a", "b", "c"), models=("",) * 3, prompt=f"p{i % 7}") for i in range(num_items)]
    every = [(one.id, *pair) for one in items for pair in combinations(range(3), 2)]
    asked = data.draw(st.lists(st.sampled_from(every), unique=True))
    found = which_next(items, num, seed, _scores(items), share, asked)
    num_random = sum(ask.arm == "random" for ask in found)
    assert len(found) <= num
    assert num_random >= share * len(found) - 1e-9
    pairs = [(ask.item, ask.first, ask.second) for ask in found]
    assert len(set(pairs)) == len(pairs)
    assert not set(pairs) & set(asked)
    prompts = {one.id: one.prompt.text for one in items}
    arms = [{prompts[ask.item] for ask in found if ask.arm == arm} for arm in ("random", "active")]
    assert not arms[0] & arms[1]


def test_a_used_up_random_arm_holds_the_active_one_back():
    """One random pair is left, so that four active ones may come with it, and then none."""
    random_pairs = [
        (one.id, *pair) for one in ITEMS if arms_of(ITEMS, 0)[one.id] == "random" for pair in combinations(range(3), 2)
    ]
    found = which_next(ITEMS, 20, 0, _scores(), asked=random_pairs[1:])
    assert [ask.arm for ask in found] == ["random", "active", "active", "active", "active"]
    assert which_next(ITEMS, 20, 0, _scores(), asked=random_pairs) == []


def test_arms_stay_while_a_project_is_asked():
    asked, arms = [], {}
    for _ in range(6):
        found = which_next(ITEMS, 20, 0, _scores(), asked=asked)
        asked += [(ask.item, ask.second, ask.first) for ask in found]  # in either order
        for ask in found:
            assert arms.setdefault(ask.item, ask.arm) == ask.arm
    assert len(set(asked)) == len(asked) == 120


def test_arms_that_were_drawn_stay_when_prompts_come_and_the_seed_changes():
    early, late = ITEMS[:20], [item(f"late{i}", prompt=f"late prompt {i}") for i in range(30)]
    before = arms_of(early, 0)
    after = arms_of([*early, *late], 1, fixed=before)
    assert {name: after[name] for name in before} == before
    assert sum(after[one.id] == "random" for one in late) == 6
    found = which_next([*early, *late], 40, 1, _scores([*early, *late]), fixed=before)
    assert all(ask.arm == before.get(ask.item, ask.arm) for ask in found)
    assert sum(ask.arm == "random" for ask in found) == 8


def test_a_prompt_that_was_active_once_is_active():
    items = [item("a", prompt="p"), item("b", prompt="p"), item("c", prompt="p")]
    for fixed in ({"a": "random", "b": "active"}, {"a": "active", "b": "random"}):
        assert set(arms_of(items, 0, fixed=fixed).values()) == {"active"}
    by_chance = which_next(items, 3, 0, fixed={"a": "active"})
    assert [ask.arm for ask in by_chance] == ["active"] * 3, "drawn by chance all the same"


def test_without_scores_all_is_chance_and_a_sample():
    found = which_next(ITEMS, 30, 0)
    assert {ask.arm for ask in found} == {"random"}
    assert found == which_next(ITEMS[::-1], 30, 0)
    assert found != which_next(ITEMS, 30, 1)
    assert len(which_next(ITEMS, 1000, 0)) == 120
    counts = [0] * 40
    for seed in range(400):
        for ask in which_next(ITEMS, 12, seed):
            counts[int(ask.item[1:])] += 1
    # 400 · 12 / 40 = 120 expected of each item, deviation about 10.6: five of them.
    assert max(abs(count - 120) for count in counts) < 53


def test_the_same_arguments_ask_the_same():
    assert which_next(ITEMS, 20, 0, _scores()) == which_next(ITEMS, 20, 0, _scores())
    assert which_next(ITEMS, 0, 0) == []
    assert which_next([], 5, 0, {}) == []
    assert isinstance(which_next(ITEMS, 1, 0)[0], Ask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"random_share": 0.1}, "random_share is 0.1; at least 0.2"),
        ({"random_share": 1.5}, "random_share is 1.5"),
        ({"num": -1}, "num is -1"),
        ({"scores": {}}, "item i0 has no scores"),
        ({"scores": {one.id: [[0.0, 1.0]] * 2 for one in ITEMS}}, "has 3 responses; each model needs"),
        ({"scores": {one.id: [[0.0, 1.0, float("nan")]] * 2 for one in ITEMS}}, "no finite number"),
        ({"scores": {one.id: [[0.0, 1.0, 2.0]] for one in ITEMS}}, "2 or more"),
        ({"scores": {**_scores(), "i3": [[0.0, 1.0, 2.0]] * 2}}, "of the same 2 or more"),
    ],
)
def test_faults_say_the_remedy(change, message):
    arguments = {"num": 5, "seed": 0, "scores": _scores(), **change}
    with pytest.raises(InputError, match=message):
        which_next(ITEMS, **arguments)
