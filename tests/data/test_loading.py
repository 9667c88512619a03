import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.data.loading import DataOrder
from posttrain.errors import InputError

sizes = st.tuples(st.integers(1, 40), st.integers(1, 12), st.booleans()).filter(lambda s: not s[2] or s[1] <= s[0])


def epoch_of(order: DataOrder) -> list[list[int]]:
    return list(order.until(order.epoch + 1))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(size=sizes, seed=st.integers(0, 5))
def test_an_epoch_holds_every_row_once(size, seed):
    num_rows, batch_size, should_drop_last = size
    order = DataOrder(num_rows, batch_size, seed, should_drop_last)
    for epoch in range(3):
        assert order.epoch == epoch
        batches = epoch_of(order)
        rows = list(itertools.chain.from_iterable(batches))
        assert len(batches) == order.num_batches
        assert all(len(batch) == batch_size for batch in batches[:-1])
        if should_drop_last:
            assert len(batches[-1]) == batch_size
            assert len(set(rows)) == len(rows) == num_rows - num_rows % batch_size
        else:
            assert sorted(rows) == list(range(num_rows))


def test_a_row_dropped_in_one_epoch_is_seen_in_another():
    order = DataOrder(5, 4, seed=0, should_drop_last=True)
    missing = {next(iter(set(range(5)) - set(epoch_of(order)[0]))) for _ in range(40)}
    assert missing == set(range(5))


def test_epochs_and_seeds_are_shuffled_apart():
    order = DataOrder(100, 100, seed=0)
    first, second = next(order), next(order)
    other = next(DataOrder(100, 100, seed=1))
    assert first != list(range(100))
    assert first != second
    assert first != other


def test_unshuffled_rows_come_as_they_stand_in_each_epoch():
    order = DataOrder(5, 2, seed=0, should_shuffle=False)
    batches = [next(order) for _ in range(4)]
    assert batches == [[0, 1], [2, 3], [4], [0, 1]]
    assert next(order.for_rank(0, 1)) == next(order) == [2, 3]


def test_the_order_is_the_same_in_every_version():
    """Recorded once: a saved run must find its order again after an update of Python."""
    recorded = [[6, 4, 8, 0], [7, 9, 3, 2], [5, 1], [6, 1, 0, 7], [9, 8, 5, 4], [2, 3]]
    assert list(DataOrder(10, 4, seed=17).until(2)) == recorded


@settings(max_examples=100, derandomize=True, deadline=None)
@given(size=sizes, num_taken=st.integers(0, 60))
def test_a_resumed_order_goes_on_as_the_saved_one(size, num_taken):
    order = DataOrder(*size[:2], seed=3, should_drop_last=size[2])
    for _ in range(num_taken):
        next(order)
    resumed = DataOrder(*size[:2], seed=3, should_drop_last=size[2])
    resumed.load_state_dict(order.state_dict())
    assert resumed.state_dict() == order.state_dict()
    assert [next(resumed) for _ in range(50)] == [next(order) for _ in range(50)]


@pytest.mark.parametrize("num_rows", [8, 10])
def test_a_state_saved_at_the_end_of_an_epoch_skips_none(num_rows):
    """verl#7401: a run resumed at an epoch boundary skipped the epoch that followed."""
    order = DataOrder(num_rows, 4, seed=0)
    epoch_of(order)
    state = order.state_dict()
    assert state == {"epoch": 1, "position": 0}
    resumed = DataOrder(num_rows, 4, seed=0)
    resumed.load_state_dict(state)
    assert sorted(itertools.chain.from_iterable(resumed.until(2))) == list(range(num_rows))
    assert resumed.epoch == 2


def test_until_takes_the_rest_of_a_begun_epoch_and_nothing_after_the_last():
    order = DataOrder(10, 4, seed=0)
    first = next(order)
    rest = list(order.until(1))
    assert sorted([*first, *itertools.chain.from_iterable(rest)]) == list(range(10))
    assert list(order.until(1)) == []


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    num_rows=st.integers(1, 30), per_rank=st.integers(1, 4), world_size=st.integers(1, 4), num_taken=st.integers(0, 9)
)
def test_ranks_share_out_each_batch(num_rows, per_rank, world_size, num_taken):
    whole = DataOrder(num_rows, per_rank * world_size, seed=2)
    for _ in range(num_taken):
        next(whole)
    ranks = [whole.for_rank(rank, world_size) for rank in range(world_size)]
    for _ in range(12):
        shares, batch = [next(rank) for rank in ranks], next(whole)
        assert sorted(itertools.chain.from_iterable(shares)) == sorted(batch)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert all(rank.state_dict() == whole.state_dict() for rank in ranks)


def test_settings_that_give_no_batch_are_refused():
    for arguments, says in (
        ((0, 4, 0), "out of 0 rows"),
        ((4, 0, 0), "batches of 0"),
        ((3, 4, 0, True), "more than the 3 rows"),
        ((9, 2, 0, False, 0, 3), "3 ranks without rows"),
    ):
        with pytest.raises(InputError, match=says):
            DataOrder(*arguments)


def test_a_state_of_other_data_is_refused():
    order = DataOrder(10, 4, seed=0)
    for state in ({"epoch": 0, "position": 12}, {"epoch": 0, "position": 3}, {"epoch": -1, "position": 0}):
        with pytest.raises(InputError, match="does not fit 10 rows in batches of 4"):
            order.load_state_dict(state)
    assert order.state_dict() == {"epoch": 0, "position": 0}
    order.load_state_dict({"epoch": 0, "position": 8})
    with pytest.raises(InputError, match="does not fit"):
        DataOrder(10, 4, seed=0, should_drop_last=True).load_state_dict({"epoch": 0, "position": 8})
