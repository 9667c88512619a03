"""From YAML text and overrides to checked settings: overrides, plug-in choices, and the wording of faults."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from posttrain import plugins
from posttrain.errors import InputError
from posttrain.reading import strict_yaml
from posttrain.settings import Settings

Location = tuple[str | int, ...]
Model = TypeVar("Model", bound=Settings)


@dataclass(frozen=True)
class Choice:
    """A plug-in and its own settings. `kind` is the folder it was found in."""

    kind: str
    name: str
    settings: Settings

    @property
    def plugin(self) -> ModuleType:
        return plugins.find(self.kind, self.name)


@dataclass(frozen=True)
class ChoiceOf:
    """Pydantic annotation of a `Choice`: in YAML {KEY: name of a plug-in, ...that plug-in's own settings}."""

    kinds: tuple[str, ...]
    key: str

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(self.written)
        )

    def parse(self, value: Any) -> Choice:
        if isinstance(value, Choice):
            return value
        if not isinstance(value, Mapping):
            raise _Faults([((), f" should be a mapping with `{self.key}`, not {json.dumps(value)}")])
        name = value.get(self.key)
        if not isinstance(name, str):
            known = ", ".join(known for kind in self.kinds for known in plugins.names(kind))
            raise _Faults([((self.key,), f" is missing: one of {known or 'none so far'}")])
        try:
            kind = plugins.kind_of(self.kinds, name)
        except InputError as error:
            raise _Faults([((self.key,), f": {error}")]) from error
        own = {key: setting for key, setting in value.items() if key != self.key}
        return Choice(kind, name, _strict(plugins.find(kind, name).Config, own))

    def written(self, choice: Choice) -> dict[str, Any]:
        return {self.key: choice.name} | choice.settings.model_dump(mode="json")

    @staticmethod
    def check_names(kind: str) -> AfterValidator:
        """For a tuple of bare plug-in names."""

        def check(given: tuple[str, ...]) -> tuple[str, ...]:
            for name in given:
                plugins.kind_of(kind, name)
            return given

        return AfterValidator(check)


def merged(path: str | Path, overrides: Sequence[str]) -> tuple[dict[str, Any], Callable[[Location], str]]:
    """The file's values with the overrides in place, and what says of a setting where it was given."""
    values = _read(Path(path))
    overridden: list[Location] = []
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or not name:
            raise InputError(f"override {override!r}: write it as a.b=value")
        location = tuple(int(part) if part.isdigit() else part for part in name.split("."))
        _put(values, location, strict_yaml.parse(text, f"override {override!r}"), override)
        overridden.append(location)

    def origin(location: Location) -> str:
        given = any(location[: len(other)] == other for other in overridden)
        return f"{path} with overrides" if given else str(path)

    return values, origin


def validated(model: type[Model], values: Mapping[str, Any], origin: Callable[[Location], str]) -> Model:
    """Check values against settings. InputError with every fault, one per line."""
    try:
        return _strict(model, values)
    except _Faults as error:
        lines = [f"{origin(location)}: {_said(location, message)}" for location, message in error.faults]
        raise InputError("\n".join(lines)) from error


class _Faults(ValueError):
    """What is wrong with some settings: where, relative to them, and what."""

    def __init__(self, faults: Sequence[tuple[Location, str]]):
        super().__init__("; ".join(_said(location, message) for location, message in faults))
        self.faults = tuple(faults)


def _strict(model: type[Model], values: Any) -> Model:
    """Validated as JSON, since strict JSON takes lists for tuples but neither '1' nor True for 1."""
    try:
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise _Faults([fault for detail in error.errors() for fault in _faults(detail, model)]) from error


def _faults(detail: ErrorDetails, model: type[BaseModel]) -> Iterator[tuple[Location, str]]:
    location, message = detail["loc"], detail["msg"]
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, _Faults):
        # the settings of a reward stand beside its name in YAML, so the level `choice` is not written
        outer = location[:-1] if location[-1:] == ("choice",) else location
        yield from ((outer + inner, text) for inner, text in cause.faults)
    elif detail["type"] == "extra_forbidden":
        yield location, f" is not a setting{_nearest(model, location)}"
    elif detail["type"] == "missing":
        field = _fields_at(model, location[:-1]).get(str(location[-1]))
        yield location, f" is missing: {field.description}" if field and field.description else " is missing"
    elif cause is not None:
        yield location, f": {cause}"
    elif message.startswith("Input "):
        demand = message.removeprefix("Input ").replace("an object", "a mapping")
        yield location, f" {demand}, not {json.dumps(detail['input'], default=str)}"
    else:
        yield location, f": {message}"


def _nearest(model: type[BaseModel], location: Location) -> str:
    known = list(_fields_at(model, location[:-1]))
    return plugins.did_you_mean(str(location[-1]), known) or f" (there are: {', '.join(known) or 'none'})"


def _fields_at(model: type[BaseModel], location: Location) -> Mapping[str, FieldInfo]:
    """Fields of the section at a location; none for a location inside a plain list or mapping."""
    fields: Mapping[str, FieldInfo] = model.model_fields
    for part in location:
        if isinstance(part, str):
            field = fields.get(part)
            section = next(_sections(field.annotation), None) if field else None
            fields = section.model_fields if section else {}
    return fields


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Settings classes inside an annotation such as `tuple[RewardSettings, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location)


def _said(location: Location, message: str) -> str:
    """A message continues its setting's name: ' is missing', ': give one of ...'. The whole run has no name."""
    return f"{_dotted(location)}{message}" if location else message.removeprefix(": ")


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a YAML file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    values = strict_yaml.parse(text, str(path))
    if not isinstance(values, dict):
        raise InputError(f"{path}: should be a mapping of settings")
    return values


def _put(values: dict[str, Any], location: Location, value: Any, override: str) -> None:
    """Set one value in place; missing sections are made, list items must exist."""
    place: Any = values
    for position, part in enumerate(location):
        is_last = position == len(location) - 1
        match place, part:
            case dict(), str():
                if is_last or place.get(part) is None:
                    place[part] = value if is_last else {}
                place = place[part]
            case list(), int() if part < len(place):
                if is_last:
                    place[part] = value
                place = place[part]
            case _:
                where = _dotted(location[:position]) or "the file"
                raise InputError(f"override {override!r}: {where} has no item {part}")
