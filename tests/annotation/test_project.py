"""A project's folder and its settings."""

import pytest

from posttrain.annotation import project as projects
from posttrain.annotation.project import ProjectSettings, checked, create, open_project
from posttrain.errors import InputError


def test_settings_are_written_and_read_again(tmp_path):
    settings = checked({"name": "Ü: # x", "axes": ["a b", "c"], "overlap": 3}, "test")
    create(tmp_path / "p", settings).store.close()
    again = open_project(tmp_path / "p")
    assert again.settings == settings
    again.store.close()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "name"),
        ({"name": "x", "overlap": 0}, "overlap"),
        ({"name": "x", "random_share": 0.1}, "random_share"),
        ({"name": "x", "gold_share": 0.5, "repeat_share": 0.5}, "0.9 together"),
        ({"name": "x", "axes": ["a", "a"]}, "twice"),
        ({"name": "x", "mode": "spans", "error_types": []}, "error_types"),
        ({"name": "x", "mode": "pairs"}, "mode"),
        ({"name": "x", "overlaps": 2}, "overlap"),
        ({"name": "a\nb"}, "name"),
    ],
)
def test_settings_that_cannot_be(values, told):
    with pytest.raises(InputError, match=told):
        checked(values, "test")


def test_a_folder_that_is_something_else(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not empty"):
        create(tmp_path, ProjectSettings(name="x"))
    with pytest.raises(InputError, match="annotate init"):
        open_project(tmp_path)
    create(tmp_path / "p", ProjectSettings(name="x")).store.close()
    with pytest.raises(InputError, match="already"):
        create(tmp_path / "p", ProjectSettings(name="x"))
    (tmp_path / "p" / projects.SECRET_FILE).write_bytes(b"short")
    with pytest.raises(InputError, match="secret"):
        open_project(tmp_path / "p")


def test_each_project_has_its_own_secret(tmp_path):
    found = [create(tmp_path / name, ProjectSettings(name="x")) for name in "ab"]
    assert found[0].secret != found[1].secret
    assert len(found[0].secret) == 32
    for project in found:
        project.store.close()
