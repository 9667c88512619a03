"""Products in bfloat16: as near to float32 as transformers itself, with weights and sums in float32."""

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, PreTrainedModel

from posttrain.batches import Sequences
from posttrain.models import precision
from posttrain.models.language_model import LanguageModel
from posttrain.models.loading import load_language_model
from posttrain.models.precision import compute_dtype, faster_dtype, products_in, rounded
from posttrain.rollouts import in_process
from tests.tiny_models import (
    EVERY,
    plain_logits,
    prompt_of_row,
    random_sequences,
    response_of_row,
)

SMALL = LlamaConfig(vocab_size=50)
LEAST = 0.8
"""Of the rounding errors of transformers: less would mean that some products are still in float32."""


def of_transformers(model: PreTrainedModel, sequences: Sequences) -> torch.Tensor:
    """Log-probabilities of all response tokens, a text at a time."""
    rows = ((prompt_of_row(sequences, row), response_of_row(sequences, row)) for row in range(len(sequences)))
    logprobs = ((plain_logits(model, *row).float().log_softmax(-1), row[1]) for row in rows)
    return torch.cat([each[torch.arange(len(ids)), torch.tensor(ids)] for each, ids in logprobs])


def error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return (actual - expected).abs().mean().item()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("is_shared", [False, True])
def test_logprobs_are_as_near_as_those_of_transformers(name, is_shared, model_folder):
    model = LanguageModel(load_language_model(str(model_folder(name)), 0.0).model).eval()
    lengths = [[5, 7, 6], [8]] if is_shared else [[8], [7], [9], [5]]
    sequences = random_sequences([3, 6] if is_shared else [3, 6, 1, 4], lengths)
    mask = sequences.response_mask
    expected = model(sequences)[mask]
    with products_in(torch.bfloat16):
        found = model(sequences)[mask]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = of_transformers(model.hf_model, sequences)
    assert found.dtype == torch.float32
    assert LEAST * error(theirs, expected) <= error(found, expected) <= 1.5 * error(theirs, expected)
    found.sum().backward()
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
    assert torch.equal(model(sequences)[mask], expected), "only within"


def test_the_format_is_that_of_the_innermost():
    assert compute_dtype() == torch.float32
    with products_in(torch.bfloat16), products_in(torch.float32):
        assert compute_dtype() == torch.float32
    with products_in(torch.bfloat16):
        assert compute_dtype() == torch.bfloat16
    assert compute_dtype() == torch.float32


@pytest.mark.parametrize("name", EVERY)
def test_a_rounded_copy(name, model_folder):
    model = load_language_model(str(model_folder(name)), 0.0).model
    assert rounded(model) is model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with products_in(torch.bfloat16):
        copy = rounded(model)
    assert {p.dtype for p in copy.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in copy.parameters())
    assert [b.dtype for b in copy.buffers()] == [b.dtype for b in model.buffers()]
    is_tied = [m.get_input_embeddings().weight is m.get_output_embeddings().weight for m in (model, copy)]
    assert is_tied[0] == is_tied[1]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for (key, ours), theirs in zip(copy.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs.bfloat16()), key


@pytest.mark.parametrize("name", EVERY)
def test_the_sampler_reads_a_rounded_copy(name, model_folder):
    """Its log-probabilities are as near to float32 as those that transformers computes in bfloat16 throughout."""
    start = load_language_model(str(model_folder(name)), 0.0)
    policy = LanguageModel(start.model).eval()
    engine = in_process.build(in_process.Config(max_new_tokens=8, samples_per_prompt=3), policy, start)
    with products_in(torch.bfloat16):
        rollout = engine.generate(random_sequences([3, 6, 1], [[1]] * 3).prompts, step=0)
        copy = rounded(start.model)
    sequences = rollout.sequences
    mask = sequences.response_mask
    expected, theirs = of_transformers(start.model, sequences), of_transformers(copy, sequences)
    assert LEAST * error(theirs, expected) <= error(rollout.logprobs[mask], expected) <= 2 * error(theirs, expected)


class Timed(nn.Module):
    """Counts its forwards in each format, and whether it would drop anything."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.ones(())), []

    def forward(self, sequences):
        self.seen.append((compute_dtype(), self.training, tuple(sequences.response_ids.shape)))
        return self.weight * sequences.response_ids.float()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [((1.0, 0.7), torch.bfloat16), ((1.0, 0.9), torch.float32), ((1.0, 3.0), torch.float32)],
)
def test_bfloat16_is_chosen_where_it_is_clearly_faster(seconds, expected, monkeypatch):
    times = dict(zip((torch.float32, torch.bfloat16), seconds, strict=True))
    monkeypatch.setattr(precision, "_seconds_of_step", lambda module, sequences, dtype: times[dtype])
    assert faster_dtype(Timed(), SMALL, torch.device("cpu")) == expected


def test_a_measurement_leaves_nothing_behind():
    module = Timed().train()
    assert faster_dtype(module, SMALL, torch.device("cpu")) in (torch.float32, torch.bfloat16)
    assert module.training
    assert module.weight.grad is None
    assert compute_dtype() == torch.float32
    assert {dtype for dtype, _, _ in module.seen} == {torch.float32, torch.bfloat16}
    assert not any(training for _, training, _ in module.seen)


@pytest.mark.parametrize("name", EVERY)
def test_it_measures_a_language_model_within_its_positions(name, model_folder):
    model = LanguageModel(load_language_model(str(model_folder(name)), 0.0).model)
    assert faster_dtype(model, model.hf_model.config, torch.device("cpu")) in (torch.float32, torch.bfloat16)
