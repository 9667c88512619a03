"""Draws that nobody can foresee and everybody can repeat."""

from collections import Counter

import pytest

from posttrain.annotation import assignment

SECRET = b"x" * 32


@pytest.mark.parametrize("num", [4, 8, 40])
def test_sides_are_balanced_for_each_annotator_at_any_time(num):
    for name in ("ann", "bob", "eve"):
        shown = [assignment.order_shown(SECRET, name, 7, turn, (1, 3)) for turn in range(num)]
        assert Counter(shown) == {(1, 3): num // 2, (3, 1): num // 2}
        assert all(abs(sum(1 if each == (1, 3) else -1 for each in shown[:n])) <= 2 for n in range(num))


def test_sides_are_not_the_same_for_all_and_not_alternating():
    orders = {
        tuple(assignment.order_shown(SECRET, f"p{n}", 1, turn, (0, 1))[0] for turn in range(8)) for n in range(40)
    }
    assert len(orders) > 15


def test_sides_depend_on_the_secret():
    def orders(secret):
        return [assignment.order_shown(secret, "ann", 1, turn, (0, 1)) for turn in range(64)]

    assert orders(SECRET) == orders(SECRET)
    assert orders(SECRET) != orders(b"y" * 32)


def test_every_order_of_three_is_as_likely():
    found = Counter(assignment.order_shown(SECRET, "ann", task, 0, (0, 1, 2)) for task in range(3000))
    assert len(found) == 6
    assert all(430 <= num <= 570 for num in found.values())  # 500 ± 3.4 standard deviations


@pytest.mark.parametrize("share", [0.2, 0.25, 0.5, 1.0])
def test_the_random_arm_has_its_share_of_every_beginning(share):
    arms = [assignment.arm_of_turn(turn, share) for turn in range(200)]
    for n in range(1, 201):
        assert arms[:n].count("random") >= share * n - 1e-9
    assert arms.count("random") <= share * 200 + 5


def test_kinds_come_by_their_shares():
    found = Counter(assignment.kind_of_turn(SECRET, "ann", n, 0.1, 0.2) for n in range(5000))
    assert 430 <= found["gold"] <= 570
    assert 910 <= found["repeat"] <= 1090


def test_numbers_are_spread_evenly():
    drawn = [assignment.fraction(SECRET, n) for n in range(2000)]
    assert 0 <= min(drawn) < 0.01
    assert 0.99 < max(drawn) < 1
    assert 0.48 < sum(drawn) / 2000 < 0.52
    assert assignment.keyed(SECRET, "a", "b") != assignment.keyed(SECRET, "ab", "")
