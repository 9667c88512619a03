import gzip
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posttrain.data.jsonl import read_rows, write_rows
from posttrain.errors import EnvironmentFault, InputError

finite_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
rows_of_json = st.lists(st.dictionaries(st.text(), finite_json, max_size=5), min_size=1, max_size=5)


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_of_json, name=st.sampled_from(["rows.jsonl", "rows.jsonl.gz"]))
def test_what_is_written_is_read_back(tmp_path, rows, name):
    assert write_rows(tmp_path / name, rows) == len(rows)
    assert [row for _, row in read_rows(tmp_path / name)] == rows


def test_all_three_forms_give_the_same_rows_with_their_lines(tmp_path):
    lines = b'{"a": 1}\n {"b": "\xc3\xa9\xe2\x80\xa8"} \n{}'
    (tmp_path / "x.jsonl").write_bytes(lines)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "x.json").write_bytes(b"[" + lines.replace(b"\n", b",\n") + b"]\n")
    expected = [(1, {"a": 1}), (2, {"b": "é\u2028"}), (3, {})]
    for path in sorted(tmp_path.iterdir()):
        read = list(read_rows(str(path)))
        assert [(where.line, row) for where, row in read] == expected, path
        assert [str(where) for where, _ in read] == [f"{path}:1", f"{path}:2", f"{path}:3"]


def test_a_document_knows_the_line_that_each_row_begins_on(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('\n[\n{"a":\n1},\n\n{"b": 2}, {"c": 3}\n]\n')
    assert [(where.line, row) for where, row in read_rows(path)] == [(3, {"a": 1}), (6, {"b": 2}), (6, {"c": 3})]


def test_the_same_rows_give_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    write_rows(tmp_path / "a.jsonl.gz", [{"é": 1}])
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_rows(tmp_path / "b.jsonl.gz", [{"é": 1}])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    write_rows(tmp_path / "c.jsonl", [{"é": 1}, {}])
    assert (tmp_path / "c.jsonl").read_bytes() == '{"é": 1}\n{}\n'.encode()


@pytest.mark.parametrize(
    "bad", [{"x": float("nan")}, {"x": float("inf")}, {"x": "\ud800"}, {"x": {1, 2}}, {"x": b"bytes"}]
)
def test_a_row_that_cannot_be_read_back_is_not_written(tmp_path, bad):
    path = tmp_path / "rows.jsonl"
    write_rows(path, [{"old": 1}])
    with pytest.raises(InputError, match=r"rows\.jsonl:2: row cannot be written"):
        write_rows(path, [{"new": 1}, bad])
    assert path.read_bytes() == b'{"old": 1}\n'
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_a_failure_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rows(path, [{"old": 1}])

    def rows():
        yield {"new": 1}
        raise RuntimeError("the model failed")

    with pytest.raises(RuntimeError, match="the model failed"):
        write_rows(path, rows())
    assert path.read_bytes() == b'{"old": 1}\n'
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_a_folder_that_is_not_there_is_the_machine_at_fault(tmp_path):
    with pytest.raises(EnvironmentFault, match="cannot be written: No such file or directory"):
        write_rows(tmp_path / "missing" / "rows.jsonl", [{}])
    if Path("/dev/full").exists():
        (tmp_path / f".full.jsonl.{os.getpid()}.part").symlink_to("/dev/full")
        with pytest.raises(EnvironmentFault, match="No space left"):
            write_rows(tmp_path / "full.jsonl", [{}])


def test_rows_are_written_as_jsonl_only(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.jsonl"):
        write_rows(tmp_path / "rows.json", [{}])
