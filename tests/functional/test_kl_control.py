import pytest

from posttrain.functional.kl_control import toward_reference_target, toward_update_target


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (6.0, 0.5),  # on target
        (6.6, 0.5 * (1 + 0.1 * 100 / 1000)),
        (60.0, 0.5 * (1 + 0.2 * 100 / 1000)),  # the error is held at a fifth
        (0.0, 0.5 * (1 - 0.2 * 100 / 1000)),
        (-3.0, 0.5 * (1 - 0.2 * 100 / 1000)),  # an estimate can be negative
    ],
)
def test_the_weight_follows_the_kl_to_the_reference(kl, expected):
    weight = toward_reference_target(0.5, kl, target=6.0, num_responses=100, horizon=1000)
    assert weight == pytest.approx(expected)


@pytest.mark.parametrize(("kl", "expected"), [(60.0, 0.6), (0.0, 0.4)])
def test_a_batch_of_more_responses_than_the_horizon_changes_the_weight_by_a_fifth(kl, expected):
    assert toward_reference_target(0.5, kl, target=6.0, num_responses=6000, horizon=1000) == pytest.approx(expected)


@pytest.mark.parametrize(("kl", "expected"), [(0.0151, 4.0), (0.015, 2.0), (0.01, 2.0), (0.00667, 2.0), (0.0066, 1.0)])
def test_the_weight_of_an_update_doubles_and_halves(kl, expected):
    assert toward_update_target(2.0, kl, target=0.01) == expected
