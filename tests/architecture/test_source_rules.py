"""Rules about the text itself: sizes that stay readable, words that say nothing, and calls that are never made."""

import ast
import re

from tests.architecture.source_files import PACKAGE, REPOSITORY, SourceFile, source_files

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
MAX_FOLDER_FILES = 12
EMPTY_WORDS = {"utils", "util", "helpers", "helper", "common", "base", "core", "misc", "types", "math"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {
    "torch.load",
    "torch.save",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "eval",
    "exec",
    "os.system",
}
FORBIDDEN_KEYWORDS = {"shell", "trust_remote_code", "allow_pickle"}


def _calls(file: SourceFile) -> list[ast.Call]:
    return [node for node in ast.walk(file.tree) if isinstance(node, ast.Call)]


def test_files_are_short():
    long = {file.name: lines for file in source_files() if (lines := len(file.text.splitlines())) > MAX_FILE_LINES}
    assert long == {}


def test_functions_are_short():
    long = {
        f"{file.name}:{node.name}": lines
        for file in source_files()
        for node in ast.walk(file.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert long == {}


def test_folders_are_small():
    folders = {PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__")}
    counts = {
        folder.name: len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) for folder in folders
    }
    assert {name: count for name, count in counts.items() if count > MAX_FOLDER_FILES} == {}


def test_no_name_says_nothing():
    empty = [file.name for file in source_files() if set(file.name.removesuffix(".py").split("/")) & EMPTY_WORDS]
    assert empty == []


def test_every_file_says_what_it_is():
    silent = [file.name for file in source_files() if file.text.strip() and not ast.get_docstring(file.tree)]
    assert silent == []


def test_no_module_that_runs_code_from_files():
    found = [
        f"{file.name}:{line}"
        for file in source_files()
        for module, line in file.imports()
        if module in FORBIDDEN_MODULES
    ]
    assert found == []


def test_no_forbidden_call():
    found = [
        f"{file.name}:{call.lineno}"
        for file in source_files()
        for call in _calls(file)
        if ast.unparse(call.func) in FORBIDDEN_CALLS
    ]
    assert found == []


def test_no_forbidden_keyword():
    found = [
        f"{file.name}:{call.lineno}: {keyword.arg}"
        for file in source_files()
        for call in _calls(file)
        for keyword in call.keywords
        if keyword.arg in FORBIDDEN_KEYWORDS
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    assert found == []


def test_pretrained_weights_are_safetensors_only():
    found = [
        f"{file.name}:{call.lineno}"
        for file in source_files()
        for call in _calls(file)
        if re.search(r"(AutoModel\w*|PreTrainedModel)\.from_pretrained$", ast.unparse(call.func))
        if not any(
            keyword.arg == "use_safetensors" and ast.unparse(keyword.value) == "True" for keyword in call.keywords
        )
    ]
    assert found == []


def test_no_fault_is_swallowed_unnamed():
    """`except:` and `except BaseException:` only to clean up and raise again."""
    found = [
        f"{file.name}:{node.lineno}"
        for file in source_files()
        for node in ast.walk(file.tree)
        if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) == "BaseException")
        if not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
    ]
    assert found == []


def test_nothing_is_left_to_do():
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")
    assert [file.name for file in source_files() if marks.search(file.text)] == []


def test_the_repository_names_no_machine():
    """Paths of one person's disk: everything outside the repository is an argument, but for ../shared/data."""
    texts = [
        path
        for path in REPOSITORY.rglob("*")
        if path.suffix in {".md", ".yaml", ".toml", ".py"} and ".venv" not in path.parts
    ]
    own_path = re.compile(r"(?<![\w./])/(home|root|work|Users)/")
    assert [
        path.name for path in texts if path.name != "test_source_rules.py" and own_path.search(path.read_text())
    ] == []
