"""Runs inside the file of a study name what earlier parts have made: `sft/model`, `preferences/train.jsonl`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain.config import RunConfig, parse, resolved
from posttrain.errors import InputError
from posttrain.reading.config_reading import Choice, ChoiceOf
from posttrain.studies.parts import Place, PlannedRun, mark_of

NAMING = ("path", "model", "reference")
"""Settings that name models and files."""
OWN_OF_RUNS = ("seed", "num_threads", "out")
"""Settings of a run that the study gives."""


def given_of_study(run: RunConfig) -> str | None:
    """The first setting of a run inside a study's file that only the study may give."""
    return next((name for name in OWN_OF_RUNS if name in run.model_fields_set and getattr(run, name) is not None), None)


class Names:
    """The parts that a study can have, `known`, and where those are that it has made by now.

    `elsewhere` has names of models that no part has made: what stands for `sft/model`, say.
    """

    def __init__(
        self, known: Sequence[str], made: Mapping[str, Place], study: str, elsewhere: Mapping[str, str] | None = None
    ) -> None:
        self.known, self.made, self.study, self.elsewhere = known, made, study, elsewhere or {}

    def planned(self, name: str, run: RunConfig, seed: int, num_threads: int | None, folder: Path) -> PlannedRun:
        """The run in a folder below `folder`. InputError where it names a part that is not made by then."""
        named: dict[str, str] = {}
        values = self._located(resolved(run), named, name)
        mark = mark_of(resolved(run), named, seed)
        place = Place(folder / f"{name}-{mark}", mark)
        own = {"seed": seed, "num_threads": num_threads, "out": str(place.folder)}
        return PlannedRun(name, place, parse(values | own, name))

    def reward(self, name: str, reward: Choice) -> tuple[Choice, str]:
        """The reward with the folders of parts in place of their names, and its mark."""
        named: dict[str, str] = {}
        kind = ChoiceOf(("rewards",), key="kind")
        written = kind.written(reward)
        return kind.parse(self._located(written, named, name)), mark_of(written, named)

    def _located(self, value: Any, named: dict[str, str], where: str, key: str = "") -> Any:
        """The value with folders in place of parts; `named` collects those parts and their marks."""
        if isinstance(value, dict):
            return {inner: self._located(it, named, f"{where}.{inner}", inner) for inner, it in value.items()}
        if isinstance(value, list):
            return [self._located(it, named, f"{where}.{place}", key) for place, it in enumerate(value)]
        part, slash, rest = value.partition("/") if isinstance(value, str) else ("", "", "")
        if key not in NAMING or not slash or part not in self.known:
            return value
        if part not in self.made and value in self.elsewhere:
            named[part] = self.elsewhere[value]
            return self.elsewhere[value]
        if part not in self.made:
            there = ", ".join(self.made) or "nothing"
            raise InputError(
                f"{where}: {value}: there is no {part} in this {self.study} by then; made before it: {there}"
            )
        named[part] = self.made[part].mark
        return str(self.made[part].folder / rest)
