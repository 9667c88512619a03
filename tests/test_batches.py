"""Rows are counted, selected and split without tearing apart what belongs together."""

import pytest
import torch

from posttrain.batches import (
    ActorCriticExperience,
    Judged,
    PreferencePairs,
    ReferencedPairs,
    RewardStream,
    Rollout,
    Sequences,
)
from posttrain.data.records import Prompt
from tests.tiny_models import prompt_of_row, random_sequences, response_of_row


@pytest.fixture
def sequences() -> Sequences:
    """Prompts 0, 1, 2 with 2, 1 and 3 responses."""
    return random_sequences([3, 5, 2], [[2, 4], [3], [1, 5, 2]])


def content(sequences: Sequences) -> list[tuple[list[int], list[int]]]:
    return [(prompt_of_row(sequences, row), response_of_row(sequences, row)) for row in range(len(sequences))]


def test_selecting_rows_keeps_order_and_only_the_prompts_still_used(sequences):
    rows = [5, 0, 3, 1]
    kept = sequences.select(rows)
    assert content(kept) == [content(sequences)[row] for row in rows]
    assert [prompt.text for prompt in kept.prompts.examples] == ["prompt 0", "prompt 2"]
    assert kept.prompt_index.tolist() == [1, 0, 1, 0]


def test_a_row_may_be_selected_twice(sequences):
    assert content(sequences.select([2, 2])) == [content(sequences)[2]] * 2


def test_selecting_nothing_gives_an_empty_batch(sequences):
    assert len(sequences.select([])) == 0
    assert len(sequences.prompts.select([])) == 0


def test_split_gives_all_rows_once(sequences):
    parts = sequences.split(4)
    assert [len(part) for part in parts] == [4, 2]
    assert content(parts[0]) + content(parts[1]) == content(sequences)
    assert [len(part.prompts) for part in parts] == [3, 1]


def test_lengths(sequences):
    assert sequences.lengths.tolist() == [2, 4, 3, 1, 5, 2]
    assert sequences.prompts.lengths.tolist() == [3, 5, 2]
    assert sequences.row_lengths() == [3 + 2, 3 + 4, 5 + 3, 2 + 1, 2 + 5, 2 + 2]


def test_a_rollout_knows_the_prompt_of_each_response(sequences):
    texts = tuple("abcdef")
    rollout = Rollout(sequences, torch.arange(30.0).view(6, 5), texts, torch.tensor([True] + [False] * 5), 7)
    kept = rollout.select([4, 0])
    assert [example.text for example in kept.examples] == ["prompt 2", "prompt 0"]
    assert (kept.texts, kept.is_cut.tolist(), kept.policy_version) == (("e", "a"), [False, True], 7)
    assert kept.logprobs[:, 0].tolist() == [20, 0]


def test_experience_selects_every_field(sequences):
    fields = [torch.arange(30.0).view(6, 5) + 100 * i for i in range(4)]
    kept = ActorCriticExperience(sequences, *fields).select([2, 5])
    assert len(kept) == 2
    for name, field in zip(("old_logprobs", "advantages", "returns", "old_values"), fields, strict=True):
        assert torch.equal(getattr(kept, name), field[[2, 5]])


def test_judged_rows(sequences):
    kept = Judged(sequences, torch.tensor([True, False] * 3)).select([1, 2])
    assert kept.is_good.tolist() == [False, True]
    assert len(kept) == 2


@pytest.fixture
def pairs(sequences) -> ReferencedPairs:
    """Prompt 0: 0 over 1; prompt 1: none; prompt 2: 4 over 3, 3 and 5 tie, 5 over 4."""
    return ReferencedPairs(
        sequences,
        better=torch.tensor([0, 4, 3, 5]),
        worse=torch.tensor([1, 3, 5, 4]),
        is_tie=torch.tensor([False, False, True, False]),
        weight=torch.tensor([1.0, 1 / 3, 1 / 3, 1 / 3]),
        reference_logprobs=-torch.arange(6.0),
    )


def named_pairs(pairs: PreferencePairs) -> list[tuple[list[int], list[int], bool, float]]:
    return [
        (response_of_row(pairs.sequences, better), response_of_row(pairs.sequences, worse), is_tie, weight)
        for better, worse, is_tie, weight in zip(
            pairs.better.tolist(), pairs.worse.tolist(), pairs.is_tie.tolist(), pairs.weight.tolist(), strict=True
        )
    ]


def test_pairs_count_prompts_and_selecting_a_prompt_keeps_all_of_its_pairs(pairs):
    assert len(pairs) == 3
    kept = pairs.select([2])
    assert len(kept) == 1
    assert content(kept.sequences) == content(pairs.sequences)[3:]
    assert named_pairs(kept) == named_pairs(pairs)[1:]
    assert kept.better.tolist() == [1, 0, 2]
    assert kept.reference_logprobs.tolist() == [-3, -4, -5]


def test_a_prompt_without_pairs_keeps_its_response(pairs):
    kept = pairs.select([1])
    assert (len(kept.sequences), len(kept.better)) == (1, 0)


def test_splitting_pairs_loses_none(pairs):
    parts = pairs.split(2)
    assert [len(part) for part in parts] == [2, 1]
    assert [pair for part in parts for pair in named_pairs(part)] == named_pairs(pairs)


def test_the_length_of_a_pairs_row_is_that_of_its_longest_response(pairs):
    assert pairs.row_lengths() == [7, 8, 7]


def test_moving_keeps_everything_but_the_device(pairs):
    moved = pairs.to("meta")
    assert moved.sequences.prompts.ids.device.type == "meta"
    assert moved.reference_logprobs.device.type == "meta"
    assert moved.sequences.prompts.examples == pairs.sequences.prompts.examples


def test_totals_of_a_stream_count_only_what_was_judged():
    mask = torch.tensor([[True, False, True], [False, False, False]])
    stream = RewardStream("r", torch.tensor([[1.0, float("nan"), 2.0], [9.0, 9.0, 9.0]]), mask)
    assert stream.totals().tolist() == [3, 0]


def test_a_prompt_record_is_shared_not_copied(sequences):
    example = sequences.prompts.examples[1]
    assert sequences.select([2]).prompts.examples[0] is example
    assert isinstance(example, Prompt)
