"""Names of parts in the runs of a study."""

from pathlib import Path
from typing import Any

import pytest

from posttrain.config import RunConfig, parse
from posttrain.errors import InputError
from posttrain.studies.naming import Names
from posttrain.studies.parts import Place


def run(**changes: Any) -> RunConfig:
    values = {
        "model": {"path": "sft/model"},
        "algorithm": {"name": "dpo"},
        "data": {"train": {"source": "preference_jsonl", "path": "pairs/train.jsonl"},
                 "max_prompt_tokens": 8, "max_response_tokens": 8},
        "training": {"num_steps": 1, "batch_size": 1, "learning_rate": 0.1},
    }  # fmt: skip
    return parse(values | changes, "a run")


def names(start: str | None = None, **marks: str) -> Names:
    made = {name: Place(Path("out") / f"{name}-{mark}", mark) for name, mark in marks.items()}
    return Names(("sft", "pairs"), made, "loop", {} if start is None else {"sft/model": start})


def test_a_part_s_name_becomes_its_folder_and_its_mark_counts():
    first = names(sft="a", pairs="b").planned("dpo", run(), 3, 1, Path("out"))
    assert first.run.model.path == "out/sft-a/model"
    assert str(getattr(first.run.data.train.settings, "path")) == "out/pairs-b/train.jsonl"  # noqa: B009
    assert (first.run.seed, first.run.num_threads, first.run.out) == (3, 1, str(first.place.folder))
    assert first.place.folder == Path(f"out/dpo-{first.place.mark}")
    marks = {names(sft=sft, pairs=pairs).planned("dpo", run(), seed, 1, Path("out")).place.mark
             for sft, pairs, seed in (("a", "b", 3), ("c", "b", 3), ("a", "c", 3), ("a", "b", 4))}  # fmt: skip
    assert len(marks) == 4
    assert names(sft="a", pairs="b").planned("dpo", run(), 3, 2, Path("elsewhere")).place.mark == first.place.mark


def test_a_model_from_elsewhere_counts_by_its_path():
    planned = [names(start, pairs="b").planned("dpo", run(), 0, None, Path("out")) for start in ("one", "other")]
    assert [it.run.model.path for it in planned] == ["one", "other"]
    assert planned[0].place.mark != planned[1].place.mark


def test_what_is_no_name_of_a_part_stays_as_it_is():
    other = run(model={"path": "models/sft/model"}, reference="models/sft")
    planned = names(pairs="b").planned("dpo", other, 0, None, Path("out"))
    assert (planned.run.model.path, planned.run.reference) == ("models/sft/model", "models/sft")


def test_a_part_that_is_not_made_yet_is_named():
    with pytest.raises(InputError, match=r"dpo\.model\.path: sft/model: there is no sft in this loop by then"):
        names(pairs="b").planned("dpo", run(), 0, None, Path("out"))
