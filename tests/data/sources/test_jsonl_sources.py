"""What the three JSONL sources read, and that what they write they read back."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posttrain.data.jsonl import write_rows
from posttrain.data.records import Comparison, Demonstration, Pair, Prompt
from posttrain.data.sources import demonstration_jsonl, preference_jsonl, prompt_jsonl

texts = st.text(min_size=1, max_size=20).filter(str.strip)
facts = st.dictionaries(
    st.text(max_size=4), st.none() | st.integers() | texts | st.lists(texts, max_size=2), max_size=3
)
prompts = st.builds(Prompt, texts, st.just("") | texts, st.lists(texts, max_size=3).map(tuple), facts)


@st.composite
def demonstrations(draw):
    response = draw(texts)
    ends = draw(st.lists(st.integers(0, len(response)), unique=True, max_size=4).map(sorted))
    return Demonstration(draw(prompts), response, tuple(zip(ends[::2], ends[1::2], strict=False)))


@st.composite
def comparisons(draw):
    responses = tuple(draw(st.lists(texts, min_size=2, max_size=5)))
    positions = st.permutations(range(len(responses))).map(lambda order: order[:2])
    pair = st.builds(
        lambda ij, label, who: Pair(*ij, label, who), positions, st.sampled_from([0, 1, 2]), texts | st.just("")
    )
    return Comparison(draw(prompts), responses, tuple(draw(st.lists(pair, min_size=1, max_size=6))))


def reads_back(source, path, records):
    write_rows(path, map(source.to_row, records))
    return source.load(source.Config(path=path)) == records


def id_of(record):
    prompt = getattr(record, "prompt", record)
    return prompt.id or object()


several = {"min_size": 1, "max_size": 4, "unique_by": id_of}
slow_fixture = [HealthCheck.function_scoped_fixture]


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=slow_fixture)
@given(
    some_prompts=st.lists(prompts, **several),
    some_demonstrations=st.lists(demonstrations(), **several),
    some_comparisons=st.lists(comparisons(), **several),
)
def test_what_is_written_is_read_back(tmp_path, some_prompts, some_demonstrations, some_comparisons):
    assert reads_back(prompt_jsonl, tmp_path / "prompts.jsonl", some_prompts)
    assert reads_back(demonstration_jsonl, tmp_path / "demonstrations.jsonl.gz", some_demonstrations)
    assert reads_back(preference_jsonl, tmp_path / "preferences.jsonl", some_comparisons)


def load_rows(source, tmp_path, *rows, **more):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source.load(source.Config(path=path, **more))


def test_a_demonstration_with_everything(tmp_path):
    row = {"prompt": "p ", "response": " r", "references": ["a", "b"], "id": "7", "facts": {"gold": 1}}
    row["given"] = [[0, 1], [1, 2]]
    expected = Demonstration(Prompt("p ", "7", ("a", "b"), {"gold": 1}), " r", ((0, 1), (1, 2)))
    assert load_rows(demonstration_jsonl, tmp_path, row) == [expected]


def test_prompts_from_plain_lines_keep_their_blanks(tmp_path):
    path = tmp_path / "prompts.TXT"
    path.write_bytes("one\n  two é \u2028 still two\nthree".encode())
    assert [p.text for p in prompt_jsonl.load(prompt_jsonl.Config(path=path))] == [
        "one",
        "  two é \u2028 still two",
        "three",
    ]
    assert len(prompt_jsonl.load(prompt_jsonl.Config(path=path, num=2))) == 2


def said(role, content):
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "chosen": "c", "rejected": "r"},
        {"prompt": [said("user", "p")], "chosen": [said("assistant", "c")], "rejected": [said("assistant", "r")]},
        {
            "chosen": [said("user", "p"), said("assistant", "c")],
            "rejected": [said("user", "p"), said("assistant", "r")],
        },
        {
            "prompt": "p",
            "chosen": [said("user", "p"), said("assistant", "c")],
            "rejected": [said("user", "p"), said("assistant", "r")],
        },
        {"prompt": "p", "responses": ["c", "r"], "pairs": [[0, 1, 1]]},
    ],
)
def test_every_form_of_one_preference_is_the_same_comparison(tmp_path, row):
    assert load_rows(preference_jsonl, tmp_path, row) == [Comparison(Prompt("p"), ("c", "r"), (Pair(0, 1, 1),))]


def test_several_annotators_and_a_tie(tmp_path):
    row = {"prompt": "p", "responses": ["a", "b", "a"], "pairs": [[2, 0, 0, "ann"], [2, 0, 1, "bob"], [0, 1, 2]]}
    [comparison] = load_rows(preference_jsonl, tmp_path, row)
    assert comparison.pairs == (Pair(2, 0, 0, "ann"), Pair(2, 0, 1, "bob"), Pair(0, 1, 2))


def test_num_takes_the_first_rows(tmp_path):
    rows = [{"prompt": f"p{i}", "chosen": "c", "rejected": "r"} for i in range(3)]
    assert [c.prompt.text for c in load_rows(preference_jsonl, tmp_path, *rows, num=2)] == ["p0", "p1"]
