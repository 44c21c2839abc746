"""The digits' profiles, policy and task definitions, as SWOP and SWCI read them."""

import pytest

from compose import flow_folder
from compose.plan import REPOSITORY, Layout, Ports
from services.common import task_definition
from services.common.task_api import TaskType
from services.common.task_body import MakeUserContainer, RunSwarm
from services.swci.core.grammar import Wrong, parse
from services.swop.core import policy, profile, refusals

DIGITS = REPOSITORY / "examples" / "digits"


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A run folder with the flow's files."""
    layout = Layout(tmp_path_factory.mktemp("run"), REPOSITORY, REPOSITORY / "certs")
    known = flow_folder.values(layout, Ports(5814, (1,), (30304,), (21, 22, 23, 24)))
    flow_folder.copy(flow_folder.read(DIGITS), layout, known)
    return layout.run


def task_of(filled, name):
    path = filled / "swci" / "taskdefs" / f"{name}.yaml"
    return task_definition.parse(path.read_text(), path.name)


def swop_of(filled, number):
    folder = filled / "nodes" / f"swop-{number}"
    name = f"swop{number}_profile.yaml"
    read, warnings = profile.parse((folder / name).read_text(), name)
    assert warnings == []
    assert read.policy == "swop_policy.yaml"
    rules = policy.parse_policy((folder / read.policy).read_text(), read.policy)
    return read, rules


@pytest.mark.parametrize("number", [1, 2])
def test_profiles(filled, number):
    read, _ = swop_of(filled, number)
    assert (read.groupname, read.network) == (f"digits{number}", "default")
    assert read.taskrunner == "defaulttaskbb.taskdb.sml.hpe"
    numbers = [2 * number - 1, 2 * number]
    assert [node.slport for node in read.nodes] == [20 + each for each in numbers]
    assert [dict(node.usrenvvars) for node in read.nodes] == [
        {"NODE_ID": f"user-{each}"} for each in numbers
    ]


def test_tasks(filled):
    build, run = (
        task_of(filled, name) for name in ("user_env_pyt_build_task", "swarm_digits_task")
    )
    assert (build.type, build.prereq) == (TaskType.MAKE_USER_CONTAINER, "ROOTTASK")
    assert isinstance(build.body, MakeUserContainer)
    assert build.body.build_context == "sl-cli-lib"
    assert (run.type, run.prereq) == (TaskType.RUN_SWARM, build.name)
    assert isinstance(run.body, RunSwarm)
    variables = dict(run.body.envvars)
    assert variables == {
        "DATA_DIR": "private", "MODEL_DIR": "private", "MAX_EPOCHS": "20", "MIN_PEERS": "4",
    }  # fmt: skip


@pytest.mark.parametrize("isolated", [True, False], ids=["docker", "process"])
@pytest.mark.parametrize("name", ["user_env_pyt_build_task", "swarm_digits_task"])
def test_the_policy_allows_them_on_both_engines(filled, name, isolated):
    read, rules = swop_of(filled, 1)
    task = task_of(filled, name)
    assert refusals.check_task(rules, read, task, isolated=isolated) == []
    if name == "swarm_digits_task":
        assert refusals.check_task(policy.DEFAULT_POLICY, read, task, isolated=isolated)


def test_every_line_of_the_script_is_a_command(filled):
    lines = (filled / "swci" / "swci-init").read_text().splitlines()
    wrong = [line for line in lines if isinstance(parse(line), Wrong)]
    assert wrong == []
    assert lines[-1] == "EXIT"
