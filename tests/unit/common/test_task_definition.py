"""Task files in all the shapes that ``compat/04`` names, and their way over the chain."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.common.errors import ConfigError
from services.common.task_api import LONGEST_LINE, Line, TaskType
from services.common.task_body import (
    AuthFile,
    BuildType,
    ContentStep,
    ContentType,
    Credentials,
    MakeSwarmUserContent,
    MakeUserContainer,
    MountType,
    Operation,
    PullImage,
    RunSwarm,
    SharedContent,
)
from services.common.task_definition import TaskDefinition, body_lines, from_chain, parse
from tests.unit.common.task_files import BUILD, CONTENT, PULL, RUN, info

LINE = TypeAdapter(Line)


def through_chain(definition):
    lines = body_lines(definition)
    for line in lines:
        assert len(line.encode()) <= LONGEST_LINE
        LINE.validate_python(line)
    return from_chain(info(definition.type, lines, definition))


def test_run_swarm():
    definition = parse(RUN, "t.yaml")
    assert definition == TaskDefinition(
        "digits_run",
        TaskType.RUN_SWARM,
        "someone",
        "digits_env",
        "digits_run",
        RunSwarm(
            "model/digits.py --cuda",
            "python3",
            "/tmp/test",
            (("DATA_DIR", "app-data"), ("MAX_EPOCHS", "2"), ("SWARM_LOOPBACK", "True")),
            "/tmp/test/",
            (
                SharedContent("/srv/digits/model", "/tmp/test/model", MountType.BIND),
                SharedContent("digits-data", "/data", MountType.VOLUME),
            ),
        ),
    )
    assert definition.body.command_words() == ("model/digits.py", "--cuda")
    assert through_chain(definition) == definition


def test_the_lines_on_the_chain():
    assert body_lines(parse(RUN, "t.yaml")) == [
        'Command: "model/digits.py --cuda"',
        'Entrypoint: "python3"',
        'WorkingDir: "/tmp/test"',
        "Envvars:",
        '- DATA_DIR: "app-data"',
        '- MAX_EPOCHS: "2"',
        '- SWARM_LOOPBACK: "True"',
        'PrivateContent: "/tmp/test/"',
        "SharedContent:",
        '- Src: "/srv/digits/model"',
        '  Tgt: "/tmp/test/model"',
        '  MType: "BIND"',
        '- Src: "digits-data"',
        '  Tgt: "/data"',
        '  MType: "VOLUME"',
    ]


@pytest.mark.parametrize("nothing", ["~", "null", "", None])
def test_null_and_missing_are_the_same(nothing):
    keys = ("Envvars", "PrivateContent", "SharedContent")
    text = RUN[: RUN.index("    Envvars")]
    if nothing is not None:
        text += "".join(f"    {key}: {nothing}\n" for key in keys)
    definition = parse(text, "t.yaml")
    assert definition.body == RunSwarm("model/digits.py --cuda", "python3", "/tmp/test")
    assert through_chain(definition) == definition


def test_block_envvars_and_values_of_nothing():
    block = "Envvars:\n    - A : 1.5\n    - http_proxy:\n    - NO: no\n    - A: last\n"
    text = RUN.replace(RUN[RUN.index("Envvars") : RUN.index("    Private")], block)
    env = parse(text, "t.yaml").body.envvars
    assert env == (("A", "last"), ("http_proxy", ""), ("NO", "False"))


def test_make_user_container():
    definition = parse(BUILD, "t.yaml")
    body = definition.body
    assert (body.build_type, body.build_context) == (BuildType.INLINE, "sl-cli-lib")
    assert body.url() is None
    assert len(body.build_steps[5]) > 80
    assert body.dockerfile() == (
        "FROM python:3.12-slim\n \nRUN pip install --upgrade pip==24.0 && \\\n"
        '  pip install "torch==2.2.0" torchmetrics\n \n'
        f"{body.build_steps[5]}\nRUN echo 'a: b' # not a comment\n\n"
    )
    assert through_chain(definition) == definition


def test_a_remote_build():
    steps = BUILD[BUILD.index("  BuildType") :]
    text = BUILD.replace(
        steps, "  BuildType: REMOTE\n  BuildSteps: ['https://git.example.org/x/Dockerfile']\n"
    )
    assert parse(text, "t.yaml").body.url() == "https://git.example.org/x/Dockerfile"


def test_make_swarm_user_content():
    definition = parse(CONTENT, "t.yaml")
    assert definition.body == MakeSwarmUserContent(
        ContentType.SWARMCONTENT,
        (
            ContentStep(Operation.DOWNLOAD, "https://data.example.org/digits.tgz", "digits.tgz"),
            ContentStep(Operation.EXTRACT, "digits.tgz", "app-data"),
            ContentStep(Operation.DOWNLOAD, "http://data.example.org/more"),
        ),
    )
    assert through_chain(definition) == definition


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("~", None),
        ("/platform/swarm/usr/config.json", AuthFile("/platform/swarm/usr/config.json")),
        ("{Username: me, Password: 'p w'}", Credentials("me", "p w")),
        ("{Username: me}", Credentials("me", "")),
    ],
)
def test_pull_image(auth, expected):
    definition = parse(PULL.replace("Auth: ~", f"Auth: {auth}"), "t.yaml")
    assert definition.body == PullImage("2.10", "digits", "registry.example.org/team/", expected)
    assert definition.body.image() == "registry.example.org/team/digits:2.10"
    assert "p w" not in repr(definition)
    assert through_chain(definition) == definition


def test_a_missing_slash_is_added():
    assert PullImage("1", "r", "reg.example.org/o").image() == "reg.example.org/o/r:1"


@pytest.mark.parametrize(
    "lines",
    [
        ["Command: x.py", "Entrypoint: python3", "WorkingDir: /w", "Envvars:", "- A: 1"],
        [
            "Body:",
            "  Command: x.py",
            "  Entrypoint: python3",
            "  WorkingDir: /w",
            "  Envvars: [A: 1]",
        ],
        ["{Command: x.py, Entrypoint: python3,", "WorkingDir: /w, Envvars: [A: 1]}"],
        [
            "# typed by hand",
            "Command: >-",
            "  x.py",
            "Entrypoint: python3",
            "WorkingDir: /w",
            "Envvars: [A: 1]",
        ],
    ],
)
def test_bodies_typed_line_by_line(lines):
    body = from_chain(info(TaskType.RUN_SWARM, lines)).body
    assert body == RunSwarm("x.py", "python3", "/w", (("A", "1"),))


def test_a_bad_body_on_the_chain_names_task_and_line():
    with pytest.raises(ConfigError) as caught:
        from_chain(info(TaskType.RUN_SWARM, ["Command: x", "Entrypoint: 3", "WorkingDir: /w"]))
    assert str(caught.value) == "task t:2: Entrypoint: 3 is not text; put it in quotes"
    with pytest.raises(ConfigError) as caught:
        from_chain(info(TaskType.MAKE_USER_CONTAINER, ["Body:", " BuildType: INLINE"]))
    assert str(caught.value).startswith("task t:1: Body.BuildSteps: missing; ")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=120)
WORD = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="'\"\\<"),
    min_size=2,
    max_size=60,
).map(lambda text: "x" + text)
NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)


def usable(text):
    return "<" not in text


RUNS = st.builds(
    RunSwarm,
    WORD,
    WORD,
    WORD.map(lambda text: "/" + text),
    st.dictionaries(NAME, TEXT.filter(usable), max_size=5).map(lambda env: tuple(env.items())),
    st.none() | WORD.map(lambda text: "/" + text),
    st.lists(
        st.builds(
            SharedContent,
            WORD.map(lambda text: "/" + text),
            WORD.map(lambda text: "/" + text.replace("/", "")),
            st.just(MountType.BIND),
        ),
        max_size=3,
        unique_by=lambda shared: shared.tgt,
    ).map(tuple),
)
BUILDS = st.builds(
    MakeUserContainer,
    st.lists(TEXT.filter(usable), min_size=1, max_size=9).map(tuple),
    st.just(BuildType.INLINE),
    st.sampled_from([None, "volume"]),
)


INSIDE = WORD.map(lambda text: text.replace("..", "."))
CONTENTS = st.builds(
    MakeSwarmUserContent,
    st.sampled_from(ContentType),
    st.lists(
        st.builds(ContentStep, st.just(Operation.EXTRACT), INSIDE, st.none() | INSIDE),
        min_size=1,
        max_size=4,
    ).map(tuple),
)
PULLS = st.builds(
    PullImage,
    st.just("1.10"),
    st.just("digits"),
    st.sampled_from(["reg.example.org/team", "reg.example.org:5000/team/"]),
    st.none() | st.builds(AuthFile, WORD) | st.builds(Credentials, WORD, WORD | st.just("")),
)
TYPES = {
    RunSwarm: TaskType.RUN_SWARM,
    MakeUserContainer: TaskType.MAKE_USER_CONTAINER,
    MakeSwarmUserContent: TaskType.MAKE_SWARM_USER_CONTENT,
    PullImage: TaskType.PULL_IMAGE,
}


@given(RUNS | BUILDS | CONTENTS | PULLS)
def test_any_text_survives_the_chain(body):
    type = TYPES[body.__class__]
    definition = TaskDefinition("n", type, "a", "ROOTTASK", "outcome", body)
    assert through_chain(definition) == definition


@given(st.lists(st.text(max_size=30), max_size=8), st.sampled_from(list(TaskType)))
def test_any_body_is_read_or_refused(lines, type):
    try:
        from_chain(info(type, lines))
    except ConfigError as exc:
        assert str(exc)


def test_the_schema_is_beside_the_code_for_editors():
    path = Path(__file__).parents[3] / "services/common/task.schema.json"
    schema = json.loads(path.read_text())
    assert set(schema["properties"]) == {"Name", "TaskType", "Author", "Prereq", "Outcome", "Body"}
