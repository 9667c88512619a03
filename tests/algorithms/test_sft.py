import pytest
import torch

from posttrain.algorithms.sft import SFT
from tests.algorithms.given import NAN, Given, gradient, sequences_of


def test_the_loss_is_the_negative_logprob_of_counted_tokens():
    module = Given(torch.tensor([[-1.0, -2.0, -4.0], [-0.5, NAN, NAN]]))
    report = SFT(module).loss(sequences_of([3, 1]))
    assert report.loss_sum.item() == pytest.approx(1 + 2 + 4 + 0.5)
    assert report.count == 4
    assert gradient(module, report.loss_sum).tolist() == [[-1, -1, -1], [-1, 0, 0]]
