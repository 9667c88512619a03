"""What goes into a checkpoint comes out of it, to the bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posttrain.training import checkpoint


def refuse(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


def there_and_back(folder: Path, state: dict[str, Any], step: int = 1) -> dict[str, Any]:
    checkpoint.save(folder, step, state, keep=1)
    loaded = checkpoint.load_latest(folder, refuse)
    assert loaded is not None
    assert loaded[0] == step
    return loaded[1]


def assert_same(actual: Any, expected: Any) -> None:
    """Equal in value and type; tensors to the bit; tuples come back as lists."""
    if isinstance(expected, torch.Tensor):
        assert actual.dtype == expected.dtype
        assert actual.shape == expected.shape
        as_bytes = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (actual, expected)]
        assert torch.equal(*as_bytes)
    elif isinstance(expected, dict):
        assert [(key, type(key)) for key in actual] == [(key, type(key)) for key in expected]
        for key, value in expected.items():
            assert_same(actual[key], value)
    elif isinstance(expected, list | tuple):
        assert type(actual) is list
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    else:
        assert type(actual) is type(expected)
        assert repr(actual) == repr(expected)  # tells -0.0 from 0.0, and nan equals nan


DTYPES = (
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    tensor = (torch.randn(draw(SHAPES), generator=generator) * 3).to(draw(st.sampled_from(DTYPES)))
    return tensor.t() if tensor.dim() == 2 and draw(st.booleans()) else tensor


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), tensors())
KEYS = st.one_of(st.text(max_size=5), st.integers(), st.sampled_from(["$tensor", "$pairs", "a.b", "a", "__metadata__"]))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=st.dictionaries(st.sampled_from(["model", "optimizer", "loop"]), TREES, max_size=3))
def test_any_state_comes_back(tmp_path: Path, state: dict[str, Any]):
    assert_same(there_and_back(tmp_path, state), state)


def test_names_that_collide_when_joined_stay_apart(tmp_path: Path):
    state = {
        "model": {"a": {"b": torch.tensor(1.0)}, "a.b": torch.tensor(2.0), 1: torch.tensor(3), "1": torch.tensor(4)}
    }
    assert_same(there_and_back(tmp_path, state), state)


def test_model_file_has_the_parameter_names(tmp_path: Path):
    from safetensors.torch import load_file

    model = torch.nn.Linear(2, 3)
    path = checkpoint.save(tmp_path, 7, {"model": model.state_dict()}, keep=1)
    assert path == tmp_path / "step-00000007"
    assert load_file(path / "model.safetensors").keys() == {"weight", "bias"}
    assert {file.name for file in path.iterdir()} == {"model.safetensors", "state.json", "manifest.json"}


class TiedModel(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 4)
        self.lm_head = torch.nn.Linear(4, 5, bias=False)
        self.lm_head.weight = self.embedding.weight


def test_tied_weights_are_stored_once_and_load(tmp_path: Path):
    torch.manual_seed(0)
    model, other = TiedModel(), TiedModel()
    state = there_and_back(tmp_path, {"model": model.state_dict()})
    other.load_state_dict(state["model"])
    assert torch.equal(other.lm_head.weight, model.lm_head.weight)
    assert other.lm_head.weight is other.embedding.weight
    stored = (tmp_path / "step-00000001" / "model.safetensors").stat().st_size
    assert 5 * 4 * 4 < stored < 2 * 5 * 4 * 4 + 100


def test_views_of_one_memory_that_differ_come_back(tmp_path: Path):
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"model": {"whole": whole, "rows": whole[1:], "turned": whole.t(), "flat": whole.view(-1), "again": whole}}
    square = torch.arange(9.0).reshape(3, 3)
    state["model"].update(square=square, square_turned=square.t())
    state["model"]["spread"] = torch.ones(1).expand(3)
    assert_same(there_and_back(tmp_path, state), state)


def test_optimizer_continues_with_the_same_bits(tmp_path: Path):
    def one_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()

    torch.manual_seed(1)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        one_step(model, optimizer)
    state = there_and_back(tmp_path, {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    resumed = torch.nn.Linear(3, 2)
    resumed.load_state_dict(state["model"])
    resumed_optimizer = torch.optim.AdamW(resumed.parameters(), lr=0.5)
    resumed_optimizer.load_state_dict(state["optimizer"])
    for _ in range(3):
        one_step(model, optimizer)
        one_step(resumed, resumed_optimizer)
    assert torch.equal(model.weight, resumed.weight)
    assert checkpoint.verify(tmp_path / "step-00000001") is None  # what was loaded is no window on the file


def test_only_the_newest_are_kept(tmp_path: Path):
    for step in (5, 10, 100, 15):
        checkpoint.save(tmp_path, step, {"loop": {"step": step}}, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000015", "step-00000100"]
    assert checkpoint.load_latest(tmp_path, refuse) == (100, {"loop": {"step": 100}})


def test_a_step_saved_again_is_replaced(tmp_path: Path):
    for answer in ("first", "second"):
        checkpoint.save(tmp_path, 3, {"loop": answer}, keep=1)
    assert checkpoint.load_latest(tmp_path, refuse) == (3, {"loop": "second"})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_no_checkpoint_is_none(tmp_path: Path):
    assert checkpoint.load_latest(tmp_path / "absent", refuse) is None
    (tmp_path / ".tmp-step-00000001").mkdir()
    assert checkpoint.load_latest(tmp_path, refuse) is None


@pytest.mark.parametrize("value", [{1, 2}, object(), torch.float32, {(1, 2): 3}, {None: 1}])
def test_what_it_cannot_hold_is_refused_by_name(tmp_path: Path, value: object):
    with pytest.raises(TypeError, match=r"cannot hold here\.0"):
        checkpoint.save(tmp_path, 1, {"loop": {"here": [value]}}, keep=1)
    assert list(tmp_path.iterdir()) == []


def test_files_are_strict_json(tmp_path: Path):
    path = checkpoint.save(tmp_path, 1, {"loop": {"best": float("-inf")}}, keep=1)

    def refuse_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    for name in ("state.json", "manifest.json"):
        json.loads((path / name).read_text(), parse_constant=refuse_constant)
