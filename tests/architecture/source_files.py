"""The package's source, parsed once for every rule."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "posttrain"


@dataclass(frozen=True)
class SourceFile:
    name: str  # relative to the package, with forward slashes: "data/records.py"
    text: str
    tree: ast.Module

    def imports(self) -> Iterator[tuple[str, int]]:
        """(dotted module, line) of every import, wherever it stands."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module, node.lineno
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@cache
def source_files() -> tuple[SourceFile, ...]:
    return tuple(
        SourceFile(path.relative_to(PACKAGE).as_posix(), text := path.read_text(encoding="utf-8"), ast.parse(text))
        for path in sorted(PACKAGE.rglob("*.py"))
    )
