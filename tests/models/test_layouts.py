"""Each layout against attention written out for one text at a time."""

from collections.abc import Sequence
from itertools import accumulate

import pytest
import torch
from torch import Tensor

from posttrain.models.layouts import packed, prompts
from posttrain.models.layouts.branching import Branching
from posttrain.models.layouts.crossing import Crossing
from posttrain.models.layouts.growing import Continuing, OwnTokens
from posttrain.models.layouts.packed import Packed
from posttrain.models.layouts.prompts import SharedPrompts

HEADS, WIDTH, SCALING = 4, 3, 0.7


def tokens(num: int, heads: int, seed: int) -> Tensor:
    """[1, heads, num, WIDTH]"""
    return torch.randn(1, heads, num, WIDTH, generator=torch.Generator().manual_seed(seed))


def written_out(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """[H, S, E]: the last of S queries sees all T keys, the one before it all but one."""
    group = query.shape[0] // keys.shape[0]
    keys, values = (each.repeat_interleave(group, 0) for each in (keys, values))
    scores = SCALING * query @ keys.transpose(1, 2)
    num_queries, num_keys = scores.shape[1:]
    is_hidden = torch.ones(num_queries, num_keys, dtype=torch.bool).triu(num_keys - num_queries + 1)
    return scores.masked_fill(is_hidden, float("-inf")).softmax(-1) @ values


def spans(lengths: Sequence[int]) -> list[slice]:
    ends = list(accumulate(lengths))
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]


@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("lengths", [[3], [5, 2, 1, 7, 7, 2], [4, 4, 4, 4]])
def test_packed_texts_see_themselves_only(lengths, key_heads):
    kept: dict[int, tuple[Tensor, ...]] = {}
    layout = Packed(torch.tensor(lengths), lambda group, *both: kept.__setitem__(group, both))
    num = sum(lengths)
    q, k, v = (tokens(num, heads, seed) for seed, heads in enumerate((HEADS, key_heads, key_heads)))
    read = layout.attend(0, q, k, v, SCALING, None)
    assert read.shape == q.shape
    in_row = [lengths[text] for text in layout.order]
    for text, span in zip(layout.order.tolist(), spans(in_row), strict=True):
        assert layout.place[text, : lengths[text]].tolist() == list(range(span.start, span.stop))
        assert layout.positions()[0, span].tolist() == list(range(lengths[text]))
        expected = written_out(q[0, :, span], k[0, :, span], v[0, :, span])
        assert torch.allclose(read[0, :, span], expected, atol=1e-6)
    texts = layout.order.chunk(min(packed.MOST_GROUPS, len(lengths)))
    assert list(kept) == list(range(len(texts)))
    for group, some in enumerate(texts):
        for padded, in_a_row in zip(kept[group], (k, v), strict=True):
            of_texts = padded.view(len(some), key_heads, max(lengths[text] for text in some), WIDTH)
            for text, of_text in zip(some.tolist(), of_texts, strict=True):
                assert torch.equal(of_text[:, : lengths[text]], in_a_row[0][:, layout.place[text, : lengths[text]]])
                assert not of_text[:, lengths[text] :].any()


def test_a_row_is_made_in_the_order_of_the_layout():
    layout = Packed(torch.tensor([3, 1, 2]))
    ids = torch.tensor([[1, 2, 3], [4, 0, 0], [5, 6, 0]])
    row = layout.row(ids, ids > 0)
    assert row.tolist() == [[4, 5, 6, 1, 2, 3]]
    assert row[0, layout.place[0]].tolist() == [1, 2, 3]


@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("most_groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("prompt_lengths", "lengths", "index"),
    [
        ([3, 2], [2, 4, 1], [0, 1, 0]),
        ([5, 1, 4], [0, 3, 2, 0, 6, 1], [2, 0, 0, 1, 2, 2]),
        ([2, 3], [0, 0, 0], [0, 0, 1]),
    ],
)
def test_branches_see_their_prompt_and_themselves(prompt_lengths, lengths, index, key_heads, most_groups, monkeypatch):
    monkeypatch.setattr(packed, "MOST_GROUPS", most_groups)
    layout = Branching(torch.tensor(prompt_lengths), torch.tensor(lengths), torch.tensor(index))
    num = sum(prompt_lengths) + sum(lengths)
    assert layout.num_tokens == num
    q, k, v = (tokens(num, heads, seed).requires_grad_() for seed, heads in enumerate((HEADS, key_heads, key_heads)))
    read = layout.attend(0, q, k, v, SCALING, None)
    positions = layout.positions()[0]
    expected = torch.zeros_like(read)
    for number, length in enumerate(prompt_lengths):
        at = layout.prompt_place[number, :length]
        assert positions[at].tolist() == list(range(length))
        expected[0, :, at] = written_out(q[0][:, at], k[0][:, at], v[0][:, at])
    for number, (length, prompt) in enumerate(zip(lengths, index, strict=True)):
        before = layout.prompt_place[prompt, : prompt_lengths[prompt]]
        own = layout.response_place[number, :length]
        both = torch.cat([before, own])
        assert positions[own].tolist() == list(range(prompt_lengths[prompt], prompt_lengths[prompt] + length))
        if length:
            expected[0, :, own] = written_out(q[0][:, own], k[0][:, both], v[0][:, both])
    assert torch.allclose(read, expected, atol=1e-6)
    ours = torch.autograd.grad(read.square().sum(), (q, k, v))
    theirs = torch.autograd.grad(expected.square().sum(), (q, k, v))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("has_bias", [False, True])
def test_responses_cross_to_their_own_prompt(has_bias):
    """Rows in any order; the second prompt has one response, the others two."""
    index, prompt_lengths, num = [2, 0, 1, 0, 2], [3, 1, 4], 3
    draws = torch.Generator().manual_seed(0)
    mask = torch.arange(4) < torch.tensor(prompt_lengths).unsqueeze(1)
    layout = Crossing(mask, torch.tensor(index))
    query = torch.randn(5, HEADS, num, WIDTH, generator=draws)
    keys, values = (torch.randn(3, HEADS, 4, WIDTH, generator=draws) for _ in range(2))
    read = layout.attend(0, query, keys, values, SCALING, None)
    for row, prompt in enumerate(index):
        length = prompt_lengths[prompt]
        for t in range(num):
            one = written_out(query[row][:, t : t + 1], keys[prompt][:, :length], values[prompt][:, :length])
            assert torch.allclose(read[row][:, t : t + 1], one, atol=1e-6)
    own_keys, own_values = (torch.randn(5, HEADS, num, WIDTH, generator=draws) for _ in range(2))
    bias = torch.randn(1, HEADS, num, num, generator=draws) if has_bias else None
    read = layout.attend(0, query, own_keys, own_values, SCALING, bias)
    for row in range(5):
        scores = SCALING * query[row] @ own_keys[row].transpose(1, 2) + (0 if bias is None else bias[0])
        scores = scores.masked_fill(torch.ones(num, num, dtype=torch.bool).triu(1), float("-inf"))
        assert torch.allclose(read[row], scores.softmax(-1) @ own_values[row], atol=1e-6)


@pytest.mark.parametrize("most_groups", [1, 2, 3])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_new_tokens_see_the_shared_prompt_and_their_own_row(key_heads, most_groups, monkeypatch):
    """Rows leave between tokens: one of two of a prompt, then all of another."""
    monkeypatch.setattr(packed, "MOST_GROUPS", most_groups)
    monkeypatch.setattr(prompts, "SMALLEST_GROUP", 1)
    prompt_lengths, index = [2, 3, 4], [0, 0, 1, 2, 2, 2]
    longest = max(prompt_lengths)
    draws = torch.Generator().manual_seed(0)
    prompt_keys, prompt_values = (torch.randn(3, key_heads, longest, WIDTH, generator=draws) for _ in range(2))
    shared = SharedPrompts(torch.tensor(prompt_lengths), torch.tensor(index))
    shared.add_layer(prompt_keys, prompt_values)
    layout = Continuing(shared, num_columns=5)
    rows = list(range(6))
    own: dict[int, list[tuple[Tensor, Tensor]]] = {row: [] for row in rows}
    for step, leaving in enumerate([[], [1], [2, 4], [], [5]]):
        stays = [place for place, row in enumerate(rows) if row not in leaving]
        if leaving:
            layout.keep(torch.tensor(stays))
            rows = [rows[place] for place in stays]
        assert layout.positions().squeeze(1).tolist() == [prompt_lengths[index[row]] + step for row in rows]
        q, k, v = (torch.randn(len(rows), heads, 1, WIDTH, generator=draws) for heads in (HEADS, key_heads, key_heads))
        read = layout.attend(0, q, k, v, SCALING, None)
        layout.own.written += 1
        for place, row in enumerate(rows):
            own[row].append((k[place], v[place]))
            length = prompt_lengths[index[row]]
            keys = torch.cat([prompt_keys[index[row]][:, :length], *(key for key, _ in own[row])], dim=1)
            values = torch.cat([prompt_values[index[row]][:, :length], *(value for _, value in own[row])], dim=1)
            assert torch.allclose(read[place], written_out(q[place], keys, values), atol=1e-6)


def test_memory_is_taken_once_while_no_row_leaves():
    own = OwnTokens(2, 4, torch.device("cpu"))
    addresses = set()
    for step in range(4):
        key = torch.full((2, 3, 1, WIDTH), float(step))
        keys, _ = own.add(0, key, key)
        own.written += 1
        assert keys.shape == (6, step + 1, WIDTH)
        assert keys[:, :, 0].tolist() == [[float(column) for column in range(step + 1)]] * 6
        addresses.add(keys.data_ptr())
    assert len(addresses) == 1


def test_rows_that_join_see_no_column_before_their_own():
    """Two rows have written three tokens, one of three has one: afterwards all write in one column."""
    draws = torch.Generator().manual_seed(0)
    both = [OwnTokens(num, 4, torch.device("cpu")) for num in (2, 3)]
    written: list[list[Tensor]] = []
    for own, steps in zip(both, (3, 1), strict=True):
        keys = [torch.randn(own.num_rows, 2, 1, WIDTH, generator=draws) for _ in range(steps)]
        for key in keys:
            own.add(0, key, -key)
            own.written += 1
        written += [[key[row] for key in keys] for row in range(own.num_rows)]
    first, second = both
    assert first.mask(3) is None
    first.join(second)
    new = torch.randn(5, 2, 1, WIDTH, generator=draws)
    keys, values = first.add(0, new, -new)
    first.written += 1
    assert first.written == 4
    mask = first.mask(4)
    assert mask is not None
    for row in range(5):
        seen = torch.cat([*written[row], new[row]], dim=1)
        num_hidden = 4 - seen.shape[1]
        assert mask[row].flatten().tolist() == [float("-inf")] * num_hidden + [0.0] * seen.shape[1]
        assert torch.equal(keys.view(5, 2, 4, WIDTH)[row, :, num_hidden:], seen)
        assert torch.equal(values.view(5, 2, 4, WIDTH)[row, :, num_hidden:], -seen)
    first.keep(torch.tensor([2, 4]))
    third = OwnTokens(1, 4, torch.device("cpu"))  # has only its prompt yet
    first.join(third)
    assert first.written == 2, "columns that only the rows that left had used are gone"
    assert first.start.tolist() == [0, 0, 2]
    key = torch.randn(3, 2, 1, WIDTH, generator=draws)
    keys, _ = first.add(0, key, key)
    assert torch.equal(keys.view(3, 2, 3, WIDTH)[1, :, :2], torch.cat([*written[4], new[4]], dim=1))
    assert torch.equal(keys.view(3, 2, 3, WIDTH)[:, :, 2:], key)
