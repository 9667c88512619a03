"""A token's forward in fixed shapes writes what the growing one writes; on a GPU as a recorded graph."""

from functools import partial

import pytest
import torch

from posttrain.batches import Rollout
from posttrain.data.collate import collate_prompts
from posttrain.data.records import Prompt
from posttrain.models.decoding import start
from posttrain.models.decoding.recorded import RecordedDecoding, can_be_recorded
from posttrain.models.language_model import LanguageModel
from posttrain.models.layouts.fixed import FixedTokens
from posttrain.models.layouts.growing import OwnTokens
from posttrain.models.loading import load_language_model
from posttrain.rollouts import in_process
from tests.tiny_models import END, random_ids

WRITTEN_OUT = ("t5", "t5_untied", "llama", "qwen2", "qwen3")
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))


def written(name, model_folder, device: str, **settings) -> Rollout:
    draws = torch.Generator().manual_seed(8)
    lengths = torch.randint(1, 9, (12,), generator=draws).tolist()
    prompts = collate_prompts([random_ids(length, draws) for length in lengths], [Prompt("")] * 12)
    loaded = load_language_model(str(model_folder(name)), 0.0)
    config = in_process.Config(**{"max_new_tokens": 12, "samples_per_prompt": 2, "seed": 3, **settings})
    engine = in_process.build(config, LanguageModel(loaded.model).to(device), loaded)
    engine.end_ids = (END, *range(4, 12))  # so that rows end at different times
    return engine.generate(prompts.to(device), step=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("settings", [{"is_greedy": True}, {"top_k": 5}, {"rows_at_once": 6}], ids=str)
@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_fixed_shapes_change_nothing(name, settings, share, device, model_folder, monkeypatch):
    monkeypatch.setattr(start, "can_be_recorded", lambda model: False)
    expected = written(name, model_folder, device, **settings)
    seen = []

    class Seen(RecordedDecoding):
        full_enough = share

        def next_logits(self, token):
            seen.append(len(token))
            return super().next_logits(token)

    monkeypatch.setattr(start, "can_be_recorded", lambda model: True)
    monkeypatch.setattr(start, "RecordedDecoding", partial(Seen, is_played=device == "cuda"))
    found = written(name, model_folder, device, **settings)
    assert seen, "it was decoded this way"
    assert torch.equal(found.sequences.response_ids, expected.sequences.response_ids)
    assert torch.allclose(found.logprobs, expected.logprobs, atol=1e-5)
    assert len(set(found.sequences.lengths.tolist())) > 1


def test_only_a_gpu_records(model_folder):
    model = load_language_model(str(model_folder("llama")), 0.0).model
    assert not can_be_recorded(model)


def test_columns_that_are_not_written_hold_no_nan():
    own = OwnTokens(2, 4, torch.device("cpu"))
    own.room = lambda like, *shape: like.new_full(shape, float("nan"))
    own.add(0, torch.ones(2, 1, 1, 3), torch.ones(2, 1, 1, 3))
    own.advance()
    fixed = FixedTokens(own)
    fixed.add(0, 2 * torch.ones(2, 1, 1, 3), 2 * torch.ones(2, 1, 1, 3))
    fixed.advance()
    fixed.keep(torch.tensor([1]))
    keys, _ = fixed.memory[0]
    assert keys[0, :, 0].tolist() == [1, 2, 0, 0]
    assert fixed.mask(4).flatten().tolist() == [0, 0, 0, float("-inf")], "the next token reads its own column"
