"""Scores, or values of spans, from a server of one's own over HTTP: any judge, in any language, on any machine.

POST {"prompts": [...], "responses": [...]} and, by setting, "references" and "facts", one entry a response. It answers
{"scores": [number, ...]}, or {"spans": [[[start, end, value], ...], ...]} in characters (Unicode code points) of the
response, the end exclusive. docs/rewards.md has a server of 20 lines.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator

from posttrain.batches import RewardStream, Rollout
from posttrain.data.lines import shown
from posttrain.data.text_columns import TextColumns
from posttrain.errors import InputError
from posttrain.models.loading import Tokenizer
from posttrain.rewards.json_server import JsonServer, checked_url, finite
from posttrain.rewards.placing import Judged, judged, written
from posttrain.settings import Settings


class Config(Settings):
    url: str = Field(description="where to POST: https, or http on this machine; without a user or password")
    gives: Literal["scores", "spans"] = Field("scores", description="what the server answers with")
    sends: tuple[Literal["references", "facts"], ...] = Field(
        (), description="what it is sent of each prompt beside its text"
    )
    density: Literal["whole", "sentence", "sub_sentence", "own"] = Field(
        "own", description="values of spans are paid at the ends of the spans, or summed at the end of each part"
    )
    scale: float = Field(1.0, gt=0, allow_inf_nan=False, description="reward = value * scale + bias, for each value")
    bias: float = Field(0.0, allow_inf_nan=False, description="added to each")
    batch_size: int = Field(32, gt=0, description="responses of one request")
    concurrency: int = Field(4, gt=0, le=64, description="requests at a time")
    timeout_seconds: float = Field(60.0, gt=0, le=3600, description="for one request, before it is tried again")
    num_retries: int = Field(3, ge=0, le=10, description="after no connection, no answer in time, or HTTP 5xx or 429; "
                             "waits half a second, then each time twice as long, up to ten seconds")  # fmt: skip
    max_answer_bytes: int = Field(16 * 2**20, gt=0, description="a longer answer ends the run")
    token_variable: str | None = Field(
        None, description="the environment variable with a token, sent as Authorization: Bearer"
    )
    should_allow_plain_http: bool = Field(False, description="send texts and token unencrypted to other machines")
    ca_file: str | None = Field(None, description="certificates (PEM) to trust in place of the public ones")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        try:
            checked_url(self.url, self.should_allow_plain_http)
        except ValueError as error:
            raise ValueError(f"url {error}") from None
        return self


def build(config: Config, name: str, tokenizer: Tokenizer, device: torch.device) -> "RemoteReward":
    setting = f"rewards.{name}"
    server = JsonServer(
        setting, config.url, config.timeout_seconds, config.num_retries, config.concurrency, config.max_answer_bytes,
        _token(config, setting), config.ca_file,
    )  # fmt: skip
    assert server.certificates  # what is wrong with them shows before anything is trained
    return RemoteReward(config, name, TextColumns(tokenizer), server)


def _token(config: Config, setting: str) -> str | None:
    variable = config.token_variable
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not token:
        raise InputError(
            f"{setting}.token_variable: the environment variable {variable} is not set; export it before the run"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"{setting}.token_variable: what is in {variable} is no token; it should be printable ASCII without blanks"
        )
    return token


@dataclass
class RemoteReward:
    config: Config
    name: str
    columns: TextColumns
    server: JsonServer

    def __call__(self, rollout: Rollout) -> RewardStream:
        ends, size = self.columns.ends_of(rollout), self.config.batch_size
        parts = [range(i, min(i + size, len(rollout))) for i in range(0, len(rollout), size)]
        answers = self.server.answers([self._question(rollout, rows) for rows in parts])
        judgements: list[list[Judged]] = []
        for rows, answer in zip(parts, answers, strict=True):
            texts, own = [rollout.texts[row] for row in rows], [ends[row] for row in rows]
            judgements += self._judgements(answer, texts, own)
        return written(self.name, rollout, judgements, self.config.density, ends)

    def _question(self, rollout: Rollout, rows: Sequence[int]) -> dict[str, Any]:
        examples = rollout.examples
        prompts = [examples[row] for row in rows]
        question: dict[str, Any] = {
            "prompts": [prompt.text for prompt in prompts], "responses": [rollout.texts[row] for row in rows]
        }  # fmt: skip
        if "references" in self.config.sends:
            question["references"] = [list(prompt.references) for prompt in prompts]
        if "facts" in self.config.sends:
            question["facts"] = [dict(prompt.facts) for prompt in prompts]
        return question

    def _judgements(self, answer: Any, texts: Sequence[str], ends: Sequence[Sequence[int]]) -> list[list[Judged]]:
        """InputError that says what is wrong with an answer; nothing of it is left out or repaired."""
        key = self.config.gives
        if not isinstance(answer, dict) or list(answer) != [key]:
            keys = ", ".join(map(str, answer)) or "none" if isinstance(answer, dict) else "no object"
            raise self._fault(f'the answer should be an object with the one key "{key}", but it has: {shown(keys)}')
        given = answer[key]
        if not isinstance(given, list) or len(given) != len(texts):
            number = len(given) if isinstance(given, list) else "no list"
            raise self._fault(f'"{key}" should have an entry for each of {len(texts)} responses, but it has: {number}')
        if key == "scores":
            return [[Judged(0, len(own) - 1, self._reward(value, f"scores[{i}]"))]
                    for i, (value, own) in enumerate(zip(given, ends, strict=True))]  # fmt: skip
        return [self._spans(spans, text, own, f"spans[{i}]")
                for i, (spans, text, own) in enumerate(zip(given, texts, ends, strict=True))]  # fmt: skip

    def _spans(self, spans: Any, text: str, ends: Sequence[int], place: str) -> list[Judged]:
        if not isinstance(spans, list):
            raise self._fault(f"{place} should be a list of [start, end, value], not {shown(spans)}")
        valued = []
        for i, span in enumerate(spans):
            if not isinstance(span, list) or len(span) != 3 or any(type(edge) is not int for edge in span[:2]):
                raise self._fault(f"{place}[{i}] should be [start, end, value], not {shown(span)}")
            start, end, value = span
            if not 0 <= start < end <= len(text):
                raise self._fault(
                    f"{place}[{i}] should lie in the response, which has {len(text)} characters (Unicode code points), "
                    f"and not be empty, but it is {start} to {end}"
                )
            valued.append(((start, end), self._reward(value, f"{place}[{i}][2]")))
        return judged(valued, ends)

    def _reward(self, value: Any, place: str) -> float:
        number = finite(value)
        if number is None:
            raise self._fault(f"{place} should be a finite number, not {shown(value)}")
        return number * self.config.scale + self.config.bias

    def _fault(self, message: str) -> InputError:
        return InputError(f"{self.server.name}: {message}; mend the server")
