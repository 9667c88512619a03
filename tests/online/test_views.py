"""A response as one action, or a token as one, by hand."""

import torch

from posttrain.online.views import View
from tests.algorithms.given import NAN

MASK = torch.tensor([[True, True, False], [False, True, True], [False, False, False]])
VALUES = torch.tensor([[1.0, 2.0, NAN], [NAN, 4.0, 8.0], [NAN, NAN, NAN]])


def test_a_token_is_an_action():
    view = View("token")
    kept = [[1, 2, 0], [0, 4, 8], [0, 0, 0]]
    assert torch.equal(view.mask(MASK), MASK)
    assert view.sums(VALUES, MASK).tolist() == kept
    assert view.states(VALUES, MASK).tolist() == kept


def test_a_response_is_an_action():
    view = View("sequence")
    assert view.mask(MASK).tolist() == [[True], [True], [False]]
    assert view.sums(VALUES, MASK).tolist() == [[3], [12], [0]]
    assert view.states(VALUES, MASK).tolist() == [[1], [4], [0]], "of the state before the first token that was chosen"
