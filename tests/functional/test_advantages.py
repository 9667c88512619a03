import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.functional.advantages import discounted_returns, gae

NAN = float("nan")


def test_returns_by_hand():
    rewards = torch.tensor([[1.0, 2.0, 3.0], [5.0, NAN, NAN]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    # 3; 2 + 0.5·3 = 3.5; 1 + 0.5·3.5 = 2.75
    assert discounted_returns(rewards, mask, 0.5).tolist() == [[2.75, 3.5, 3.0], [5.0, 0.0, 0.0]]


def test_gae_by_hand():
    rewards = torch.tensor([[0.0, 1.0, 2.0]])
    values = torch.tensor([[0.5, 1.5, 1.0]])
    advantages, returns = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), discount=0.9, trace_decay=0.5)
    # δ_2 = 2 − 1 = 1; δ_1 = 1 + 0.9·1 − 1.5 = 0.4; δ_0 = 0 + 0.9·1.5 − 0.5 = 0.85
    # A_2 = 1; A_1 = 0.4 + 0.45·1 = 0.85; A_0 = 0.85 + 0.45·0.85 = 1.2325
    assert advantages[0].tolist() == pytest.approx([1.2325, 0.85, 1.0])
    assert returns[0].tolist() == pytest.approx([1.7325, 2.35, 2.0])


def test_gae_skips_masked_columns_in_the_middle():
    rewards = torch.tensor([[0.0, NAN, 1.0, NAN, 2.0]])
    values = torch.tensor([[0.5, NAN, 1.5, NAN, 1.0]])
    mask = torch.tensor([[True, False, True, False, True]])
    advantages, returns = gae(rewards, values, mask, discount=0.9, trace_decay=0.5)
    assert advantages[0].tolist() == pytest.approx([1.2325, 0, 0.85, 0, 1.0])
    assert returns[0].tolist() == pytest.approx([1.7325, 0, 2.35, 0, 2.0])


def test_trace_decay_0_is_the_one_step_error():
    rewards, values = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 1.5]])
    advantages, _ = gae(rewards, values, torch.ones(1, 2, dtype=torch.bool), discount=0.9, trace_decay=0.0)
    assert advantages[0].tolist() == pytest.approx([0.9 * 1.5 - 0.5, 1 - 1.5])


EPISODES = st.lists(st.tuples(st.floats(-3, 3, width=32), st.floats(-3, 3, width=32)), min_size=1, max_size=8)


@given(EPISODES, st.floats(0.1, 1))
@settings(max_examples=50, deadline=None)
def test_trace_decay_1_is_returns_minus_values(episode, discount):
    rewards, values = torch.tensor(episode, dtype=torch.float64).T.unsqueeze(1)
    mask = torch.ones_like(rewards, dtype=torch.bool)
    advantages, returns = gae(rewards, values, mask, discount, trace_decay=1.0)
    expected = discounted_returns(rewards, mask, discount)
    assert torch.allclose(advantages, expected - values, atol=1e-12)
    assert torch.allclose(returns, expected, atol=1e-12)


@given(EPISODES, st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_padding_changes_nothing(episode, num_padding):
    rewards, values = torch.tensor(episode).T.unsqueeze(1)
    mask = torch.ones_like(rewards, dtype=torch.bool)
    padded = [torch.nn.functional.pad(x, (0, num_padding), value=NAN) for x in (rewards, values)]
    padded_mask = torch.nn.functional.pad(mask, (0, num_padding), value=False)
    width = rewards.shape[1]
    for plain, wide in (
        *zip(gae(rewards, values, mask, 0.9, 0.8), gae(*padded, padded_mask, 0.9, 0.8), strict=True),
        (discounted_returns(rewards, mask, 0.9), discounted_returns(padded[0], padded_mask, 0.9)),
    ):
        assert torch.equal(plain, wide[:, :width])
        assert torch.equal(wide[:, width:], torch.zeros(1, num_padding))
