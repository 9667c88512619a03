"""The size of a microbatch changes nothing for a span reward model either, whatever its spans weigh."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from posttrain.algorithms.span_reward_model import Config, SpanRewardModel
from posttrain.batches import JudgedSpans, Sequences
from posttrain.data.span_labels import SpanClass
from posttrain.models.loading import new_span_scorer
from tests.tiny_models import ONE_PER_FAMILY, random_sequences
from tests.training.test_loop import LENGTHS, WHOLE, weights_after_a_step


def judged_spans(sequences: Sequences) -> JudgedSpans:
    """Every second token ends a span of two; a response of one token has none. A class weighs as its number."""
    ends = torch.arange(sequences.response_ids.shape[1]).expand_as(sequences.response_ids)
    is_end = sequences.response_mask & (ends % 2 == 1)
    label = torch.where(is_end, (ends // 2 + sequences.prompt_index.unsqueeze(1)) % 2, -1)
    return JudgedSpans(sequences, ends - 1, label, (label + 1).float())


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_the_size_of_a_microbatch_changes_nothing(name, pooling, model_folder):
    torch.manual_seed(0)
    config = Config(classes=(SpanClass(kinds=("x",)),), pooling=pooling)
    algorithm = SpanRewardModel(config, new_span_scorer(str(model_folder(name)), 0.0, config))
    batch = judged_spans(random_sequences(*LENGTHS))
    before = nn.utils.parameters_to_vector(algorithm.module.parameters()).detach()
    whole, whole_metrics = weights_after_a_step(algorithm, batch, WHOLE)
    assert (whole - before).norm() > 1e-2
    for size in (1, 3):
        parts, metrics = weights_after_a_step(algorithm, batch, replace(WHOLE, microbatch_size=size))
        assert (parts - whole).norm() <= 1e-6 * whole.norm()
        assert metrics == pytest.approx(whole_metrics, rel=1e-5, abs=1e-6)
