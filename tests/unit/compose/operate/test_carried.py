"""The command is carried to hosts that have Python 3.8 and nothing else."""

import ast
import sys

import pytest

from compose.plan import REPOSITORY

FOLDER = REPOSITORY / "compose" / "operate"
SOURCES = [*sorted(FOLDER.glob("*.py")), REPOSITORY / "compose/__init__.py",
           REPOSITORY / "compose/bin/swarm"]  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_is_python_3_8_and_imports_the_standard_library_only(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            names.append(node.module)
    for name in names:
        ours = name.startswith("compose.operate")
        assert ours or name.partition(".")[0] in sys.stdlib_module_names, name
    if path.parent == FOLDER and len(tree.body) > 1:
        assert "from __future__ import annotations" in path.read_text()
