"""The table, the settings and docs/diagnostics.md say the same, and remedies name settings that there are."""

import re
from pathlib import Path

import pytest

from posttrain import plugins
from posttrain.config import TrainingSettings, ValueModelSettings
from posttrain.diagnostics.settings import DiagnosticsSettings
from posttrain.diagnostics.table import DIAGNOSTICS, INTRODUCTION, Diagnostic

DOCUMENT = Path(__file__).parents[2] / "docs" / "diagnostics.md"


def row(diagnostic: Diagnostic) -> str:
    side = "below" if diagnostic.is_below else "above"
    cells = (
        f"`{diagnostic.name}`",
        f"`{diagnostic.metric}`" if "/" in diagnostic.metric else f"`eval/` + setting `{diagnostic.metric}`",
        f"{side} {diagnostic.default:g}: {diagnostic.seen}",
        diagnostic.meaning,
        diagnostic.remedy,
    )
    return f"| {' | '.join(cells)} |"


def test_the_document_has_the_table_of_the_code():
    rows = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert rows == [row(diagnostic) for diagnostic in DIAGNOSTICS]
    assert INTRODUCTION in DOCUMENT.read_text(encoding="utf-8").replace("\n", " ")


def test_each_diagnostic_has_its_threshold():
    assert [*DiagnosticsSettings.model_fields] == [*(diagnostic.name for diagnostic in DIAGNOSTICS), "judge"]


@pytest.mark.parametrize("diagnostic", DIAGNOSTICS, ids=lambda diagnostic: diagnostic.name)
def test_what_is_to_be_tried_names_settings_that_there_are(diagnostic: Diagnostic):
    algorithms = [plugins.find("algorithms", name).Config for name in plugins.names("algorithms")]
    known = {
        "training": set(TrainingSettings.model_fields),
        "value_model": set(ValueModelSettings.model_fields),
        "algorithm": {name for config in algorithms for name in config.model_fields},
    }
    for section, setting in re.findall(r"\b(training|algorithm|value_model)\.(\w+)", diagnostic.remedy):
        assert setting in known[section]


@pytest.mark.parametrize("diagnostic", DIAGNOSTICS, ids=lambda diagnostic: diagnostic.name)
def test_sentences_are_sentences(diagnostic: Diagnostic):
    assert diagnostic.meaning[0].isupper()
    assert diagnostic.meaning.endswith(".")
    assert diagnostic.remedy[0].isupper()
    assert diagnostic.remedy.endswith(".")
    assert not re.search(r"\bwill\b", diagnostic.meaning), "it would be a prophecy"
