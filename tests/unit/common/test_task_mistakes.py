"""What is wrong with a task file is said with its line and its field."""

import json

import pytest

from services.common.errors import ConfigError
from services.common.task_api import TaskType
from services.common.task_definition import from_chain, parse
from tests.unit.common.task_files import BUILD, CONTENT, PULL, RUN, info


def refusal(text):
    with pytest.raises(ConfigError) as caught:
        parse(text, "t.yaml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "MType: BIND",
            "MType: BINDD",
            "t.yaml:15: Body.SharedContent[0].MType: 'BINDD' is not one of BIND, VOLUME",
        ),
        ("Author: someone\n", "", "t.yaml:1: Author: missing; expected: who wrote it"),
        (
            "RUN_SWARM ",
            "BUILD_SWARM ",
            "t.yaml:2: TaskType: 'BUILD_SWARM' is not one of RUN_SWARM, MAKE_SWARM_USER_CONTENT,"
            " MAKE_USER_CONTAINER, PULL_IMAGE",
        ),
        (
            "    Command",
            "    Comand",
            "t.yaml:7: Body.Comand: nobody knows this key; did you mean Command?",
        ),
        (
            "Outcome: digits_run",
            "Outcome: 2.10",
            "t.yaml:5: Outcome: 2.1 is not text; put it in quotes",
        ),
        ("Author: someone", "Author: ~", "t.yaml:3: Author: nothing is given; expected text"),
        ("Author: someone", "Author: ''", "t.yaml:3: Author: is empty"),
        (
            "Author: someone",
            "Author: " + "x" * 161,
            "t.yaml:3: Author: has 161 characters; at most 160 are allowed",
        ),
        (
            "Author: someone",
            'Author: "a\\nb"',
            "t.yaml:3: Author: 'a\\nb' does not fit; expected: who wrote it",
        ),
        (
            "Author: someone",
            'Author: "a\\n"',
            "t.yaml:3: Author: 'a\\n' does not fit; expected: who wrote it",
        ),
        (
            "Name: digits_run",
            "Name: a/b",
            "t.yaml:1: Name: 'a/b' does not fit; expected: a name without /,"
            " at most 160 characters",
        ),
        (
            "WorkingDir: /tmp/test",
            "WorkingDir: tmp",
            "t.yaml:9: Body.WorkingDir: 'tmp' does not fit; expected: an absolute path"
            " in the container",
        ),
        (
            "python3",
            "'python3 \"'",
            "t.yaml:8: Body.Entrypoint: a shell could not split it: no closing quotation",
        ),
        ("Entrypoint: python3", "Entrypoint: ' '", "t.yaml:8: Body.Entrypoint: names no program"),
        (
            "/srv/digits/model",
            "<CURRENT-PATH>/model",
            "t.yaml:13: Body.SharedContent[0].Src: still holds the placeholder <CURRENT-PATH>;"
            " write its real value",
        ),
        (
            "/srv/digits/model",
            "model",
            "t.yaml:13: Body.SharedContent[0].Src: 'model' is not an absolute path of the host,"
            " as BIND needs",
        ),
        (
            "Src: digits-data",
            "Src: ../x",
            "t.yaml:16: Body.SharedContent[1].Src: '../x' is not the name of a volume,"
            " as VOLUME needs",
        ),
        (
            "Tgt: /data",
            "Tgt: /tmp/test/model/",
            "t.yaml:16: Body.SharedContent[1].Tgt: /tmp/test/model is a target already",
        ),
        (
            "Tgt: /data",
            "Tgt: //",
            "t.yaml:16: Body.SharedContent[1].Tgt: nothing can be mounted over / of the container",
        ),
        (
            "MAX_EPOCHS",
            "MAX EPOCHS",
            "t.yaml:10: Body.Envvars[1]: 'MAX EPOCHS' does not fit; expected: a variable's name:"
            " letters, digits and _",
        ),
        (
            "app-data",
            "[1]",
            "t.yaml:10: Body.Envvars[0].DATA_DIR: is a list; expected text or a number or"
            " true or false or nothing",
        ),
        ("app-data", '"\\0"', "t.yaml:10: Body.Envvars[0].DATA_DIR: holds the character NUL"),
        (
            "app-data",
            "é" * 600,
            "t.yaml:10: Body.Envvars[0].DATA_DIR: is 1214 bytes long on the chain;"
            " at most 1024 are allowed",
        ),
    ],
)
def test_what_is_wrong_with_a_run(old, new, message):
    assert message in refusal(RUN.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (
            BUILD,
            "user-env-digits",
            "User Env",
            "t.yaml:5: Outcome: 'User Env' cannot be the name of an image",
        ),
        (
            BUILD,
            "user-env-digits",
            "../x",
            "t.yaml:5: Outcome: '../x' cannot be the name of an image",
        ),
        (
            BUILD,
            "sl-cli-lib",
            "/etc",
            "t.yaml:7: Body.BuildContext: '/etc' is not the name of a volume",
        ),
        (BUILD, "  - ''", "  -", "t.yaml:17: Body.BuildSteps[7]: nothing is given; expected text"),
        (
            BUILD,
            "  - ''",
            "  - RUN echo a: b",
            "t.yaml:17: Body.BuildSteps[7]: is a mapping; expected text:"
            " put text that holds ': ' in quotes",
        ),
        (
            BUILD,
            "  - ''",
            "  - ''\n" * 80,
            "t.yaml:9: Body.BuildSteps: has 87 items; at most 80 are allowed",
        ),
        (CONTENT, "digits-data", "a/b", "t.yaml:5: Outcome: 'a/b' cannot be the name of a volume"),
        (
            CONTENT,
            "Out: app-data",
            "Out: a/../../b",
            "t.yaml:15: Body.OpsList[1].Options[0].Out: 'a/../../b' is not a path in the volume"
            " (relative, without ..)",
        ),
        (
            CONTENT,
            "Out: app-data",
            "out: app-data",
            "t.yaml:15: Body.OpsList[1].Options[0].out: nobody knows this key; did you mean Out?",
        ),
        (
            CONTENT,
            "Target: digits.tgz",
            "Target: /etc/digits.tgz",
            "t.yaml:13: Body.OpsList[1].Target: '/etc/digits.tgz' is not an archive's path in the"
            " volume (relative, without ..)",
        ),
        (
            CONTENT,
            "http://data.example.org/more",
            "file:///etc/passwd",
            "t.yaml:17: Body.OpsList[2].Target: 'file:///etc/passwd' is not an http or https URL",
        ),
        (
            PULL,
            "RepoName: digits",
            "RepoName: Digits",
            "t.yaml:6: Body: OrgAndReg, RepoName and Tag make no image name:"
            " 'registry.example.org/team/Digits:2.10'",
        ),
        (PULL, "Tag: '2.10'", "Tag: 2.10", "t.yaml:6: Body.Tag: 2.1 is not text; put it in quotes"),
        (
            PULL,
            "Auth: ~",
            "Auth: {User: me}",
            "t.yaml:6: Body.Auth.User: nobody knows this key; did you mean Username?",
        ),
        (PULL, "Auth: ~", "Auth: 3", "t.yaml:6: Body.Auth: 3 is not text; put it in quotes"),
    ],
)
def test_what_is_wrong_with_the_others(text, old, new, message):
    assert message in refusal(text.replace(old, new, 1))


def test_all_that_is_wrong_is_listed_in_order():
    text = RUN.replace("someone", "''").replace("BIND", "B").replace("python3", "3")
    assert [line.split(" ")[0] for line in refusal(text)] == [
        "t.yaml:3:",
        "t.yaml:8:",
        "t.yaml:15:",
    ]


def test_a_long_list_is_cut():
    lines = refusal(BUILD.replace("  - ''", "  - 1\n" * 30))
    assert len(lines) == 21
    assert lines[-1] == "... and 10 more"


@pytest.mark.parametrize("text", ["", "- a", "just text", "3"])
def test_what_is_no_mapping(text):
    assert refusal(text)[0].startswith("t.yaml:1: ")


def test_no_file_can_be_root():
    assert "is not one of" in refusal(RUN.replace("RUN_SWARM", "ROOT_TASK"))[0]
    with pytest.raises(ConfigError, match="built in"):
        from_chain(info(TaskType.ROOT_TASK, []))


@pytest.mark.parametrize(
    "text", ["cat <<EOF>x", "#include <stdio.h>", "a < b > c", "<B>bold</B>", "<x-y>", "2<>A-B"]
)
def test_what_only_looks_like_a_placeholder(text):
    parse(BUILD.replace("- ''", "- " + json.dumps(text)), "t.yaml")


@pytest.mark.parametrize(
    "word",
    [
        "PROJECT",
        "PROJECT-MODEL",
        "SWARM-NETWORK",
        "HOST_ADDRESS",
        "DNS",
        "Bind9-IP",
        "SL-IP-1",
        "SWARM_USER_DIRECTORY",
        "Host-DNS-IP",
        "NETWORK",
    ],
)
def test_placeholders_of_the_examples(word):
    assert (
        f"placeholder <{word}>"
        in refusal(RUN.replace("x.py", f"<{word}>").replace("model/digits", f"a<{word}>"))[0]
    )


@pytest.mark.parametrize(
    "bad", ["[FROM x]", "[https://a/b, https://c/d]", "['ftp://a/b']", "['https://u@a/b']"]
)
def test_a_remote_build_needs_a_url(bad):
    steps = BUILD[BUILD.index("  BuildType") :]
    assert refusal(BUILD.replace(steps, f"  BuildType: REMOTE\n  BuildSteps: {bad}\n")) == [
        "t.yaml:9: Body.BuildSteps: BuildType REMOTE needs one item: the http or https URL"
        " of the Dockerfile"
    ]
