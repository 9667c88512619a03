"""One file of comparisons serves learning and measuring: the two parts share no prompt, and are all of it."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.data.sources.preference_jsonl import Config, load
from posttrain.errors import InputError

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=4).filter(str.strip)


def write(path: Path, prompts: list[str]) -> Path:
    rows = [{"prompt": prompt, "chosen": f"good {i}", "rejected": "bad"} for i, prompt in enumerate(prompts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=30), st.floats(0.05, 0.6))
def test_every_row_is_in_one_part(tmp_path_factory: pytest.TempPathFactory, prompts: list[str], share: float):
    path = write(tmp_path_factory.mktemp("parts") / "rows.jsonl", prompts)
    num_prompts = len(set(prompts))
    if math.ceil(share * num_prompts) == num_prompts:
        with pytest.raises(InputError, match="leaves nothing to learn from"):
            load(Config(path=path, part="train", held_out_share=share))
        return
    train, held_out = (load(Config(path=path, part=part, held_out_share=share)) for part in ("train", "held_out"))
    assert sorted(it.responses[0] for it in (*train, *held_out)) == sorted(f"good {i}" for i in range(len(prompts)))
    kept = {it.prompt.text for it in held_out}
    assert not kept & {it.prompt.text for it in train}
    assert len(kept) == math.ceil(share * num_prompts)


def test_the_parts_do_not_depend_on_the_order_of_the_rows(tmp_path: Path):
    prompts = [f"question {i}" for i in range(40)]
    first = load(Config(path=write(tmp_path / "a.jsonl", prompts), part="held_out"))
    random.Random(0).shuffle(prompts)
    second = load(Config(path=write(tmp_path / "b.jsonl", prompts), part="held_out"))
    assert {it.prompt.text for it in first} == {it.prompt.text for it in second}
    assert len(first) == 8
    assert [it.prompt.text for it in first] != prompts[:8]


def test_num_counts_rows_of_the_part(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", [f"question {i}" for i in range(40)])
    assert load(Config(path=path, part="train", num=5)) == load(Config(path=path, part="train"))[:5]
