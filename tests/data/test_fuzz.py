"""Whatever bytes a file holds, a source gives records or an InputError of one line, and never another exception."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posttrain.data.sources import (
    demonstration_jsonl,
    preference_jsonl,
    prompt_jsonl,
    qa_feedback,
    sentiment,
    span_jsonl,
)
from posttrain.errors import InputError

CHAT = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}]
FEEDBACK = {
    "question": "q",
    "passages": [["title", "one.", "two."]],
    "gold": "g",
    **{f"prediction {i}": f"answer {i}" for i in range(1, 5)},
    "feedback": {"errors": [{"error type": "x", "start": 0, "end": 2}], "missing-info": [], "corrected-prediction": ""},
    "preference": [0, 1, 2, 1, 0, 2],
}
CASES = [
    (
        demonstration_jsonl,
        {},
        {"prompt": "a é", "response": "b", "references": ["c"], "id": "7", "facts": {"x": [1.5]}},
    ),
    (prompt_jsonl, {}, {"prompt": 'a "quoted" \n text', "facts": {"x": None}}),
    (preference_jsonl, {}, {"prompt": "p", "chosen": "c", "rejected": "r"}),
    (preference_jsonl, {}, {"chosen": CHAT, "rejected": [{"role": "assistant", "content": "r"}]}),
    (preference_jsonl, {}, {"prompt": "p", "responses": ["a", "b"], "pairs": [[0, 1, 2], [1, 0, 1, "ann"]]}),
    (qa_feedback, {"records": "comparisons"}, FEEDBACK),
    (span_jsonl, {}, {"prompt": "p", "response": "a é", "errors": [{"start": 0, "end": 3, "kind": "x"}]}),
    (span_jsonl, {}, {"prompt": "p", "responses": ["ab", "c"], "errors": [[], [{"start": 0, "end": 1, "kind": "x"}]]}),
    (sentiment, {"records": "judgements"}, {"text": "fine<br />film", "label": 1}),
]
NUM_MUTANTS = 1_500  # of each case, so more than 10,000 in all
PIECES = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\u", b"\\ud800", b"\0", b"\n", b"\r", b"\xff", b"\xc3"]
PIECES += [b"NaN", b"-", b"1e999", b"null", b"true", b"7", b'"":', b"\xef\xbb\xbf", b" ", b"[[[[", b'{"a":']


def mutated(line: bytes, generator: random.Random) -> bytes:
    for _ in range(generator.choice([1, 1, 2, 4])):
        start = generator.randrange(len(line) + 1)
        end = min(len(line), start + generator.choice([0, 0, 1, 1, 5, 40]))
        middle = generator.choice([*PIECES, b"", b"", line[start:end] * 2, bytes([generator.randrange(256)])])
        line = line[:start] + middle + line[end:]
    return line


def loads_or_refuses(source, path, more) -> bool:
    try:
        records = source.load(source.Config(path=path, **more))
    except InputError as error:
        message = str(error)
        assert message.startswith(f"{path}:")
        assert message.isprintable(), message
        return False
    assert records
    return True


@pytest.mark.parametrize("case", range(len(CASES)))
def test_mutated_rows(tmp_path, case):
    source, more, row = CASES[case]
    generator = random.Random(case)
    line = json.dumps(row, ensure_ascii=False).encode()
    path = tmp_path / "rows.jsonl"
    path.write_bytes(line)
    assert loads_or_refuses(source, path, more)
    num_sound = 0
    for _ in range(NUM_MUTANTS):
        path.write_bytes(mutated(line, generator))
        num_sound += loads_or_refuses(source, path, more)
    assert 0 < num_sound < NUM_MUTANTS / 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["user", "assistant"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(
    max_examples=300, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_fields_of_any_type(tmp_path, data):
    source, more, row = data.draw(st.sampled_from(CASES))
    changed = {**row, data.draw(st.sampled_from(sorted(row))): data.draw(json_values)}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row, changed]), encoding="utf-8")
    loads_or_refuses(source, path, more)
