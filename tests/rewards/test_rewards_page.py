"""docs/rewards.md against the code: its tables, its YAML and its server."""

import json
import re
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic_core import PydanticUndefined

from posttrain import plugins
from posttrain.config import RewardSettings
from posttrain.reading import strict_yaml
from posttrain.reading.config_reading import validated
from posttrain.rewards import remote
from posttrain.rewards.placing import Density
from tests.rewards.rollouts import ids_of, rollout_of, tokenizer_of

PAGE = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text()
KINDS = plugins.names("rewards")


def table_of(kind: str) -> str:
    """The settings of one kind, as the page has them."""
    rows = []
    for name, field in plugins.find("rewards", kind).Config.model_fields.items():
        default = "" if field.default is PydanticUndefined else f"`{_yaml(field.default)}`"
        values = _choices(field.annotation)
        rows.append(f"| `{name}` | {default} | {field.description}{values} |")
    return f"### {kind}\n\n| setting | default | is |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _yaml(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _choices(annotation: object) -> str:
    choices = [it for it in get_args(annotation) if isinstance(it, str)]
    choices += [it for inner in get_args(annotation) for it in get_args(inner) if isinstance(it, str)]
    return f": {', '.join(f'`{it}`' for it in choices)}" if choices else ""


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_stands_with_its_default(kind):
    assert table_of(kind) in PAGE, "write its table anew, as `table_of` has it"


def test_no_setting_is_undescribed_and_no_kind_is_gone():
    assert "None" not in "".join(map(table_of, KINDS))
    assert tuple(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_row_with_its_densities(kind):
    (row,) = re.findall(rf"^\| `{kind}` \|.*$", PAGE.partition("## Settings")[0], re.MULTILINE)
    field = plugins.find("rewards", kind).Config.model_fields.get("density")
    known = set(get_args(field.annotation)) if field else set()
    assert set(re.findall(r"`(\w+)`", row)) & set(get_args(Density)) == known


@pytest.mark.parametrize("example", re.findall(r"^    rewards:\n(?:^      .*\n)+", PAGE, re.MULTILINE))
def test_the_examples_are_settings(example):
    values = strict_yaml.parse(textwrap.dedent(example), "docs/rewards.md")
    for value in values["rewards"]:
        settings = validated(RewardSettings, value, lambda _: "docs/rewards.md")
        assert settings.choice.name in KINDS


def test_there_are_examples():
    assert PAGE.count("\n    rewards:\n") == 3


def test_the_server_of_the_page_judges(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    (tmp_path / "judge.py").write_text(code)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(tmp_path / "judge.py"), str(port)], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        tokenizer = tokenizer_of("builtin/decoder_only")
        config = remote.Config(url=f"http://127.0.0.1:{port}/", gives="spans")
        reward = remote.build(config, "judge", tokenizer, torch.device("cpu"))
        texts = ("The cat sat down. It slept!", "", "no end")
        stream = reward(rollout_of(tokenizer, [ids_of(tokenizer, text) for text in texts]))
        assert stream.values[0][stream.mask[0]].tolist() == [1 / 4, 1 / 2]
        assert stream.totals().tolist() == [3 / 4, 0, 1 / 2]
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server did not start")
