"""The command lines of docs/swarm-command.md can be read."""

import re
import shlex

import pytest

from compose.operate.main import COMMANDS
from compose.operate.options import RUN_COMMANDS
from compose.operate.parse import parse
from compose.plan import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "swarm-command.md").read_text()
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)).replace("\\\n", " ")
LINES = re.findall(r"^ *swarm .*$", BLOCKS, re.MULTILINE)


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_line_of_the_guide(line):
    _, name, *words = shlex.split(line)
    assert name in COMMANDS
    for command in RUN_COMMANDS.values():
        if command.name == name:
            found = parse([word for word in words if word != "$common"], command)
            assert found.words == []


def test_the_guide_has_lines():
    assert len(LINES) > 10
    for name in COMMANDS:
        assert name in GUIDE
