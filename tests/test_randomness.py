"""Random numbers continue where they were, and streams depend on their names alone."""

import random
from pathlib import Path
from unittest import mock

import numpy
import pytest
import torch

from posttrain import randomness
from posttrain.errors import InputError
from posttrain.training import checkpoint


def draw() -> list[float]:
    """From every global generator, an odd number from those that make gaussians in pairs."""
    values = [random.random(), random.gauss(0, 1)]
    values += [numpy.random.rand(), numpy.random.randn()]  # noqa: NPY002 - the global generator is what is tested
    return [*values, *torch.randn(5).tolist(), float(torch.rand(1))]


def test_the_same_seed_gives_the_same_numbers():
    randomness.seed_everything(5)
    first = draw()
    randomness.seed_everything(5)
    assert draw() == first
    randomness.seed_everything(6)
    assert all(one != other for one, other in zip(draw(), first, strict=True))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed: int):
    with pytest.raises(InputError, match=f"seed: {seed}"):
        randomness.seed_everything(seed)


def test_all_generators_continue_through_a_checkpoint(tmp_path: Path):
    randomness.seed_everything(7)
    draw()
    checkpoint.save(tmp_path, 1, {"randomness": randomness.capture()}, keep=1)
    expected = draw() + draw()
    randomness.seed_everything(0)
    found = checkpoint.load_latest(tmp_path, print)
    assert found is not None
    randomness.restore(found[1]["randomness"])
    assert draw() + draw() == expected


def test_states_of_other_devices_are_refused():
    state = randomness.capture()
    state["cuda"] = [*state["cuda"], torch.zeros(16, dtype=torch.uint8)]
    before = torch.get_rng_state()
    with pytest.raises(InputError, match="CUDA devices"):
        randomness.restore(state)
    assert torch.equal(torch.get_rng_state(), before)


def test_cuda_states_are_kept_and_put_back():
    states = [torch.ones(16, dtype=torch.uint8)]
    with (
        mock.patch.object(torch.cuda, "is_available", return_value=True),
        mock.patch.object(torch.cuda, "device_count", return_value=1),
        mock.patch.object(torch.cuda, "get_rng_state_all", return_value=states),
        mock.patch.object(torch.cuda, "set_rng_state_all") as put_back,
    ):
        randomness.restore(randomness.capture())
    put_back.assert_called_once_with(states)


def numbers(*place: int | str) -> list[float]:
    return torch.rand(4, generator=randomness.stream(*place)).tolist()


def test_a_stream_depends_on_its_name_alone():
    first = numbers(1, "rollout", 3, 0)
    torch.rand(100)
    assert numbers(1, "rollout", 3, 0) == first


def test_different_names_give_different_streams():
    places = [(1, "a", 2), (2, "a", 1), (1, "a", 12), (1, 12, "a"), (1, "a", "2"), (1, "a2"), (1,), (1, "a", 2, 0)]
    places += [(1, "rollout", step, sample) for step in range(20) for sample in range(20)]
    assert len({tuple(numbers(*place)) for place in places}) == len(places)


def test_neighbouring_streams_are_independent():
    """Means over 2,000 streams of the first number: uniform within 5 standard errors, and uncorrelated."""
    first = torch.tensor([numbers(0, index)[0] for index in range(2000)])
    assert abs(float(first.mean()) - 0.5) < 5 * (1 / 12 / 2000) ** 0.5
    correlation = float(torch.corrcoef(torch.stack([first[:-1], first[1:]]))[0, 1])
    assert abs(correlation) < 5 / 2000**0.5


def test_streams_are_the_same_on_every_machine():
    """Recorded here, so that a change of the hash or of torch's generator does not pass unnoticed."""
    expected = [9, 4, 6, 8]
    drawn = torch.randint(0, 10, (4,), generator=randomness.stream(0, "rollout", 1, 2)).tolist()
    assert drawn == expected
