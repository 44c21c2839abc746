"""The files in the documentation are valid, and the defaults shown are the defaults."""

import json
import re
from pathlib import Path

import pytest

from services.common.task_definition import parse as parse_task
from services.swop.core.policy import DEFAULT_POLICY, parse_policy
from services.swop.core.profile import parse as parse_profile

ROOT = Path(__file__).parents[3]


def blocks(name):
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)


def test_documented_tasks_and_profile():
    *tasks, profile = blocks("task-files.md")
    types = {str(parse_task(text, "task-files.md").type) for text in tasks}
    assert len(tasks) == len(types) == 4
    parsed, warnings = parse_profile(profile, "task-files.md")
    assert warnings == []
    assert len(parsed.nodes) == 1


def test_documented_policies():
    defaults, *others = blocks("swop-policy.md")
    assert parse_policy(defaults, "swop-policy.md") == DEFAULT_POLICY
    assert len(others) == 3
    for text in others:
        assert parse_policy(text, "swop-policy.md") != DEFAULT_POLICY


def test_documented_defaults_are_complete():
    schema = json.loads((ROOT / "services/swop/core/policy.schema.json").read_text())
    keys = set(schema["properties"])
    for part in ("container", "process"):
        keys |= set(schema["properties"][part]["properties"])
    shown = blocks("swop-policy.md")[0]
    assert keys == set(re.findall(r"^ *([a-z_]+):", shown, re.MULTILINE))


@pytest.mark.parametrize("key", ["slnodedef", "attribute"])
def test_the_documented_profile_shows_every_key(key):
    schema = json.loads((ROOT / "services/swop/core/profile.schema.json").read_text())
    shown = blocks("task-files.md")[-1]
    for name in (*schema["properties"], *schema["$defs"][key]["properties"]):
        assert re.search(rf"\b{name}:", shown), name
