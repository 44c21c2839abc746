"""The policy: what it says by default, and which key opens what."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import ConfigError
from services.common.task_body import RunSwarm
from services.common.task_definition import TaskDefinition, parse
from services.swop.core.dockerfile_images import images_of
from services.swop.core.host_paths import gives_power, is_below, overlap
from services.swop.core.policy import DEFAULT_POLICY, ContainerPolicy, Policy, parse_policy
from services.swop.core.profile import parse as parse_profile
from services.swop.core.refusals import check_task, dockerfile_refusals, url_refusals
from tests.unit.common.task_files import BUILD, CONTENT, PULL, RUN
from tests.unit.swop.profiles import FULL

PROFILE = parse_profile(FULL, "p.yaml")[0]


def task(text):
    return parse(text, "t.yaml")


def run_with(source="/srv/digits/model", kind="BIND", env="A: 1"):
    text = RUN.replace("Src: /srv/digits/model", f"Src: {source}")
    text = text.replace("MType: BIND", f"MType: {kind}")
    return task(text.replace('"DATA_DIR": app-data', env))


def asked(policy, definition, **more):
    return check_task(policy, PROFILE, definition, **more)


def test_an_empty_file_is_the_default_policy():
    assert parse_policy("", "p.yaml") == DEFAULT_POLICY == Policy()
    assert parse_policy("container: ~\nprocess: {}\nimages:\n", "p.yaml") == DEFAULT_POLICY


def test_a_full_file():
    policy = parse_policy(
        "images: ['registry.example.org/team/*']\n"
        "binds: [/srv/swarm]\nvolumes: [digits-*]\nbuilds: no\n"
        "downloads: [https://data.example.org/*]\nauth_files: [/site]\nenvironment_refused: []\n"
        "container: {privileged: true, host_network: true, ipc: [host], cap_add: [SYS_PTRACE],"
        " security_opt: ['*'], devices: [/dev/kfd], group_add: [video], gpus: false}\n"
        "process: {entrypoints: [python3], environment_refused: [PATH]}\n",
        "p.yaml",
    )
    assert policy.images == ("registry.example.org/team/*",)
    assert policy.environment_refused == ()
    assert policy.container == ContainerPolicy(
        True, True, ("host",), ("SYS_PTRACE",), ("*",), ("/dev/kfd",), ("video",), False
    )
    assert policy.process.entrypoints == ("python3",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bind: [/a]", "p.yaml:1: bind: nobody knows this key; did you mean binds?"),
        ("a: 1", "p.yaml:1: a: nobody knows this key"),
        ("binds: [a]", "p.yaml:1: binds[0]: 'a' does not fit; expected: an absolute path"),
        ("binds: [/a/../b]", "p.yaml:1: binds[0]: '/a/../b' does not fit"),
        ("binds: [/a, /]", "p.yaml:1: binds[1]: / itself can never be bound; for all that lies"),
        ("binds: [<PROJECT>/x]", "p.yaml:1: binds[0]: still holds the placeholder <PROJECT>"),
        ("binds: /a", "p.yaml:1: binds: '/a' is not a list or nothing"),
        ("downloads: [data.example.org]", "p.yaml:1: downloads[0]: 'data.example.org' does not"),
        ("downloads: ['ftp://a']", "p.yaml:1: downloads[0]: 'ftp://a' does not fit"),
        ("container:\n  cap_ad: [X]", "p.yaml:2: container.cap_ad: nobody knows this key; did you"),
        ("container: {privileged: 1}", "p.yaml:1: container.privileged: 1 is not true or false"),
        ("- a", "p.yaml:1: is a list; expected a mapping or nothing"),
    ],
)
def test_a_mistake_in_the_file_is_an_error(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, "p.yaml")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("/srv/digits/model", "; binds of the policy would allow it"),
        ("/site/user1", "; binds of the policy would allow it"),  # though the profile mounts it
        ("/site/cert", ", where the profile has a node's key or certificate; no policy allows it"),
        ("/site", ", where the profile has a node's key or certificate; no policy allows it"),
        ("/site/cert/sl-1-key.pem/", ", where the profile has a node's key or certificate;"),
        ("/site//cert/./sl-1-key.pem", ", where the profile has a node's key or certificate;"),
        ("/srv/../etc", ", a path with ..; no policy allows it"),
        ("//", ", which gives power over it; no policy allows it"),
        ("/var/run/docker.sock", ", which gives power over it; no policy allows it"),
        ("/run/", ", which gives power over it; no policy allows it"),
        ("//var/run", ", which gives power over it; no policy allows it"),
        ("/proc/1/root", ", which gives power over it; no policy allows it"),
        ("/etc", ", which gives power over it; no policy allows it"),
        ("/home/me/docker.sock", ", which gives power over it; no policy allows it"),
    ],
)
def test_binds_of_a_task(source, refused):
    found = asked(DEFAULT_POLICY, run_with(source))
    assert len(found) == 1
    assert found[0].startswith(f"SharedContent[0].Src would mount {source} of the host{refused}")
    if "no policy" in found[0]:
        assert asked(replace(DEFAULT_POLICY, binds=("/*",)), run_with(source)) == found


@pytest.mark.parametrize(
    ("root", "source", "allowed"),
    [
        ("/srv/*", "/srv/digits/model", True),
        ("/srv", "/srv/digits/model", False),
        ("/srv/digits/model/*", "/srv/digits/model", True),
        ("/srv/digits/model", "/srv/digits/model", True),
        ("/srv/digits/model/", "/srv/digits/model/", True),
        ("/*", "/srv/digits/model", True),
        ("/srv/digits/model/x", "/srv/digits/model", False),
        ("/srv/digits/mod", "/srv/digits/model", False),
    ],
)
def test_roots_for_binds(root, source, allowed):
    assert (asked(replace(DEFAULT_POLICY, binds=(root,)), run_with(source)) == []) is allowed


@pytest.mark.parametrize(
    ("name", "volumes", "refused"),
    [
        ("digits-data", ("*",), None),
        ("digits-data", ("digits-*",), None),
        ("digits-data", ("other",), "volumes of the policy would allow it"),
        ("certs", ("*",), "which holds a node's key or certificate; no policy allows it"),
        ("swop-demo-swif", ("*",), "in which an SL talks to its ML; no policy allows it"),
        ("swop-demo-swif-0", ("*",), "in which an SL talks to its ML; no policy allows it"),
    ],
)
def test_volumes_of_a_task(name, volumes, refused):
    policy = replace(DEFAULT_POLICY, volumes=("digits-data", *volumes), binds=("/srv/*",))
    if refused and "policy would" in refused:
        policy = replace(policy, volumes=volumes)
    definitions = {
        "SharedContent[0].Src": run_with(name, "VOLUME"),
        "BuildContext": task(BUILD.replace("sl-cli-lib", name)),
        "Outcome": task(CONTENT.replace("Outcome: digits-data", f"Outcome: {name}")),
    }
    for field, definition in definitions.items():
        policy = replace(policy, downloads=("*://*",))
        found = [line for line in asked(policy, definition) if line.startswith(field)]
        wanted = f"{field} names the volume {name}"
        assert [line.startswith(wanted) and line.endswith(refused) for line in found] == (
            [True] if refused else []
        )


@pytest.mark.parametrize(
    ("name", "docker", "process"),
    [
        ("SWARM_ID_KEY", True, True),
        ("SL_REQUEST_CHANNEL", True, True),
        ("LD_PRELOAD", False, True),
        ("PATH", False, True),
        ("PYTHONPATH", False, True),
        ("BASH_ENV", False, True),
        ("SWARM_LOOPBACK", False, False),
        ("DATA_DIR", False, False),
    ],
)
def test_variables_of_a_task(name, docker, process):
    definition = run_with("digits-data", "VOLUME", f"{name}: x")
    policy = replace(
        DEFAULT_POLICY, process=parse_policy("process: {entrypoints: [python3]}", "p").process
    )
    found = asked(policy, definition)
    assert found == (
        [
            f"Envvars would set {name};"
            " without it in environment_refused of the policy it would be allowed"
        ]
        if docker
        else []
    )
    assert bool(asked(policy, definition, isolated=False)) is process


def test_a_volume_whose_name_gets_an_index():
    """SWARMCONTENT makes certs-0 of certs, and RUN_SWARM finds it so."""
    text = FULL.replace("src: certs", "src: certs-0")
    profile = parse_profile(text, "p.yaml")[0]
    found = check_task(DEFAULT_POLICY, profile, run_with("certs", "VOLUME"))
    assert found[0].endswith("which holds a node's key or certificate; no policy allows it")


def test_a_process_starts_only_what_the_policy_names():
    definition = run_with("digits-data", "VOLUME")
    assert asked(DEFAULT_POLICY, definition) == []
    assert asked(DEFAULT_POLICY, definition, isolated=False) == [
        "Entrypoint would start python3 on this host, without a container;"
        " process.entrypoints of the policy would allow it"
    ]
    for entrypoints, allowed in (("[python3]", True), ("[python]", False), ("['*']", True)):
        policy = parse_policy(f"process: {{entrypoints: {entrypoints}}}", "p")
        assert (asked(policy, definition, isolated=False) == []) is allowed


def test_builds():
    build = task(BUILD)
    assert asked(DEFAULT_POLICY, build) == []
    assert asked(replace(DEFAULT_POLICY, builds=False), build) == [
        "TaskType MAKE_USER_CONTAINER builds an image; builds of the policy would allow it"
    ]
    narrow = replace(DEFAULT_POLICY, images=("registry.example.org/*",))
    assert asked(narrow, build) == [
        "Outcome names the image user-env-digits; images of the policy would allow it",
        "BuildSteps names the image python:3.12-slim; images of the policy would allow it",
    ]
    narrow = replace(DEFAULT_POLICY, images=("user-env-*", "python:3.12-*"))
    assert asked(narrow, build) == []


@pytest.mark.parametrize("own", ["user-env-digits", "user-env-digits:latest"])
def test_a_build_cannot_replace_what_the_swop_starts(own):
    assert asked(DEFAULT_POLICY, task(BUILD), own_images=[own]) == [
        "Outcome would replace user-env-digits, which this SWOP itself runs; no policy allows it"
    ]
    assert asked(DEFAULT_POLICY, task(BUILD), own_images=["user-env-digits:2"]) == []


@pytest.mark.parametrize(
    ("dockerfile", "images"),
    [
        ("FROM python", ["python"]),
        ("from --platform=linux/amd64 a/b:1 as base\nFROM base", ["a/b:1"]),
        ("FROM evil\nFROM python AS evil", ["evil", "python"]),
        ("FROM scratch\nCOPY --from=evil:1 / /", ["evil:1"]),
        ("FROM a AS x\nFROM b\nCOPY --from=x /a /b\nCOPY --from=0 /a /b", ["a", "b"]),
        ("FROM a\nRUN --mount=type=bind,from=evil,target=/x true", ["a", "evil"]),
        ("# syntax=evil/frontend\nFROM a", ["evil/frontend", "a"]),
        ("FROM \\\n  evil", ["evil"]),
        ("# escape=`\nFROM ` \n evil", ["evil"]),
        ("FROM \\\n# between\n  evil", ["evil"]),
        ("# ends in \\\nFROM evil", ["evil"]),
        ("ARG BASE=evil\nFROM ${BASE}", ["${BASE}"]),
        ("ONBUILD COPY --from=evil / /", ["evil"]),
    ],
)
def test_images_of_a_dockerfile(dockerfile, images):
    assert list(images_of(dockerfile)) == images
    narrow = replace(DEFAULT_POLICY, images=("python:*",))
    assert bool(dockerfile_refusals(narrow, dockerfile, "BuildSteps")) is (images != ["python"])
    assert dockerfile_refusals(DEFAULT_POLICY, dockerfile, "BuildSteps") == []


@pytest.mark.parametrize(
    ("pattern", "url", "allowed"),
    [
        ("https://*", "https://data.example.org/x.tgz", True),
        ("https://*", "http://data.example.org/x.tgz", False),
        ("*://*", "http://data.example.org:8080/x.tgz", True),
        ("https://data.example.org/*", "https://data.example.org/a/b?c", True),
        ("https://data.example.org/*", "https://DATA.example.org/a", True),
        ("https://data.example.org/*", "https://data.example.org.evil.org/a", False),
        ("https://data.example.org/*", "https://data.example.org@evil.org/a", False),
        ("https://*.example.org/*", "https://evil.org/a.example.org/b", False),
        ("https://data.example.org/open/*", "https://data.example.org/open/../closed", False),
        ("https://data.example.org/open/*", "https://data.example.org/open/%2e%2e/closed", False),
        ("https://data.example.org:8443/*", "https://data.example.org/a", False),
        ("https://data.example.org", "https://data.example.org/any", True),
    ],
)
def test_downloads(pattern, url, allowed):
    policy = parse_policy(f"downloads: ['{pattern}']", "p")
    assert (url_refusals(policy, url, "x") == []) is allowed


def test_downloads_of_tasks():
    assert asked(DEFAULT_POLICY, task(CONTENT)) == [
        "OpsList[2].Target would make the SWOP fetch http://data.example.org/more;"
        " downloads of the policy would allow it"
    ]
    steps = BUILD[BUILD.index("  BuildType") :]
    remote = "  BuildType: REMOTE\n  BuildSteps: ['http://git.example.org/x']\n"
    assert asked(DEFAULT_POLICY, task(BUILD.replace(steps, remote))) == [
        "BuildSteps[0] would make the SWOP fetch http://git.example.org/x;"
        " downloads of the policy would allow it"
    ]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/platform/swarm/usr/config.json", True),
        ("/platform/swarm/usr/../../../etc/x", False),
        ("/root/.docker/config.json", False),
        ("config.json", False),
    ],
)
def test_pulls(path, allowed):
    pull = task(PULL.replace("Auth: ~", f"Auth: {path}"))
    assert (asked(DEFAULT_POLICY, pull) == []) is allowed
    assert asked(replace(DEFAULT_POLICY, images=("x",)), task(PULL)) == [
        "OrgAndReg, RepoName and Tag names the image registry.example.org/team/digits:2.10;"
        " images of the policy would allow it"
    ]


PATHS = st.lists(
    st.sampled_from(["a", "etc", "run", "docker.sock", ".", "..", ""]), max_size=6
).map(lambda parts: "/" + "/".join(parts))


def test_the_key_is_on_the_ledger_however_long_the_value():
    sentence = asked(DEFAULT_POLICY, run_with("/" + "long/" * 30 + "model"))[0]
    assert "/long/" in sentence
    assert sentence.endswith("/long/model of the host; binds of the policy would allow it")
    assert len("refused by the policy: " + sentence) <= 160


@settings(deadline=None)
@given(PATHS)
def test_no_spelling_of_a_path_hides_its_power(path):
    real = Path(path)
    parts = []
    for part in real.parts[1:]:
        parts = parts[:-1] if part == ".." else [*parts, part]
    plain = "/" + "/".join(parts)
    assert gives_power(path) is gives_power(plain)
    assert is_below(path, ["/a"]) is (parts[:1] == ["a"])
    assert overlap(path, "/") is True


@settings(deadline=None)
@given(PATHS)
def test_whatever_a_task_binds_lies_below_a_root(source):
    policy = replace(DEFAULT_POLICY, binds=("/a/*",))
    body = RunSwarm("x", "python3", "/w", shared_content=run_with().body.shared_content[:1])
    body = replace(body, shared_content=(replace(body.shared_content[0], src=source),))
    definition = TaskDefinition("t", task(RUN).type, "a", "ROOTTASK", "o", body)
    if not asked(policy, definition):
        assert ".." not in source
        assert Path("/" + source.lstrip("/")).parts[:2] == ("/", "a")
        assert "docker.sock" not in Path(source).name
