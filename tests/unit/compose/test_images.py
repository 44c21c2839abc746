"""The catalogue of images, and what the files of the images must have in common."""

import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from compose.images.catalogue import (
    BASE,
    BY_DEFAULT,
    IMAGES,
    TAG,
    VERSION,
    Surroundings,
    check,
    command,
    full_name,
    with_base,
)
from compose.images.sources import copied, digest
from compose.plan import REPOSITORY
from services.common.errors import ConfigError

AROUND = Surroundings(
    "python:3.11-slim-bookworm", "wheels:1", {"ca": "/etc/ca.pem"}, "abc", "now", {"sl": "0f"}
)
SERVICES = ("license", "sn", "sl", "swop", "swci")
HOST = re.compile(r"\b(?:[a-z0-9-]+\.)+(?:io|com|org|net|dev)\b(?=[:/][\w/])")
"""A host name with something after it, as in ``registry.example.com/org/image``."""


def dockerfile(name: str) -> str:
    return (REPOSITORY / IMAGES[name].dockerfile).read_text()


def option(words: list[str], name: str) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words) if word == name]


def test_a_service_is_built_on_our_base():
    words = command("sn", "ours", "7", AROUND)
    assert words[:4] == ["docker", "buildx", "build", "--load"]
    assert words[-1] == "."
    assert option(words, "--tag") == ["ours/sn:7"]
    assert option(words, "--build-arg") == ["WHEELS_IMAGE=wheels:1", "SWARM_BASE=ours/base:7"]
    assert option(words, "--secret") == ["id=ca,src=/etc/ca.pem"]
    assert option(words, "--file") == ["services/sn/Dockerfile"]


@pytest.mark.parametrize("name", [BASE, "ml-pytorch", "ml-keras", "proxy"])
def test_others_start_from_the_base_image(name: str):
    words = command(name, "ours", "7", AROUND)
    assert "BASE_IMAGE=python:3.11-slim-bookworm" in option(words, "--build-arg")
    assert not any(each.startswith("SWARM_BASE") for each in option(words, "--build-arg"))


@pytest.mark.parametrize(("name", "installed"), [("ml-pytorch", "torch "), ("ml-keras", "tensorf")])
def test_ml_environments_differ_in_what_they_install(name: str, installed: str):
    arguments = option(command(name, "ours", "7", AROUND), "--build-arg")
    assert any(each.startswith(f"PACKAGES={installed}") for each in arguments)
    assert "${PACKAGES}" in dockerfile(name)


def test_only_the_proxy_needs_debian_packages_and_is_not_built_unasked():
    assert [name for name in IMAGES if name not in BY_DEFAULT] == ["proxy"]
    assert [name for name in IMAGES if "apt-get" in dockerfile(name)] == ["proxy"]
    mirrored = replace(AROUND, mirror="http://mirror/debian")
    asked = {name for name in IMAGES if "DEBIAN_MIRROR" in str(command(name, "p", "t", mirrored))}
    assert asked == {"proxy"}
    assert "DEBIAN_MIRROR" not in str(command("proxy", "p", "t", AROUND))


def test_labels():
    labels = dict(each.split("=", 1) for each in option(command("sl", "p", "t", AROUND), "--label"))
    assert labels == {
        "org.opencontainers.image.title": "Swarm Learning: Swarm Learning node",
        "org.opencontainers.image.description": "Trains together with others: exchanges an ML "
        "program's parameters",
        "org.opencontainers.image.version": VERSION,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.revision": "abc",
        "org.opencontainers.image.created": "now",
        "swarm.sources": "0f",
    }


@pytest.mark.parametrize(
    ("names", "built"),
    [
        (["swop", "sn"], ["base", "sn", "swop"]),
        (["ml-keras"], ["ml-keras"]),
        (["base"], ["base"]),
        (list(IMAGES), list(IMAGES)),
    ],
    ids=["services", "ml", "base", "all"],
)
def test_the_base_comes_first(names: list[str], built: list[str]):
    assert with_base(names) == built


def test_an_unknown_image():
    with pytest.raises(ConfigError, match="no image called 'x'; there are base, license, sn"):
        check(["sn", "x"])


def test_full_names():
    assert full_name("sl") == f"swarm-learning/sl:{TAG}"
    assert full_name("swop", "reg:5000/a", "2").replace("swop", "sl") == "reg:5000/a/sl:2"


def test_what_is_built_on_the_base_inherits_its_digest():
    around = replace(AROUND, sources={name: f"of {name}" for name in IMAGES})
    telling = {name: option(command(name, "p", "t", around), "--label") for name in IMAGES}
    assert [name for name in IMAGES if "swarm.base=of base" in telling[name]] == [BASE]
    assert all(f"swarm.sources=of {name}" in telling[name] for name in IMAGES)


# --- sources


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The Dockerfiles, and a file where each of them copies something."""
    for each in (".dockerignore", *{image.dockerfile for image in IMAGES.values()}):
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / each, tmp_path / each)
    for name in ("constraints.txt", "pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_text("")
    return tmp_path


CHANGES = {
    "compose/operate/stop.py": {"tools"},
    "services/license/store.py": {"license"},
    "services/sn/Dockerfile": {"sn"},
    "contracts/artifacts/Tasks.json": {"sn"},
    "contracts/src/Tasks.sol": set(),
    "contracts/compile.py": set(),
    "swarmlearning/wire/frames.py": {"sl", "tools", "ml-pytorch", "ml-keras"},
    "swarmlearning/callback.py": {"tools", "ml-pytorch", "ml-keras"},
    "services/common/tls.py": {"base", "license", "sn", "sl", "swop", "swci", "tools"},
    "constraints.txt": {name for name in IMAGES if name != "proxy"},
    "compose/images/proxy/nginx.conf": {"tools", "proxy"},
    "compose/images/ml/Dockerfile": {"tools", "ml-pytorch", "ml-keras"},
    "README.md": set(),
    "tests/pki.py": set(),
    "services/sn/__pycache__/daemon.cpython-311.pyc": set(),
    "services/license/node_modules/x/index.js": set(),
}
"""A file that changes -> the images whose digests do."""


@pytest.mark.parametrize("changed", CHANGES)
def test_a_change_changes_the_images_that_copy_it_and_no_others(tree: Path, changed: str):
    before = {name: digest(tree, name) for name in IMAGES}
    (tree / changed).parent.mkdir(parents=True, exist_ok=True)
    with (tree / changed).open("a") as file:
        file.write("# another\n")
    assert {name for name in IMAGES if digest(tree, name) != before[name]} == CHANGES[changed]


def test_what_is_installed_and_names_of_files_count(tree: Path):
    assert digest(tree, "ml-keras") != digest(tree, "ml-pytorch")
    (tree / "services/sn/a.py").write_text("1")
    first = digest(tree, "sn")
    (tree / "services/sn/a.py").rename(tree / "services/sn/b.py")
    assert digest(tree, "sn") != first


def test_what_a_dockerfile_copies():
    text = "FROM x\nCOPY a b/c ./\nCOPY --chmod=755 d \\\n  e /x/\nCOPY --from=wheels f g\n"
    assert copied(text) == ["a", "b/c", "d", "e"]


@pytest.mark.parametrize("name", IMAGES)
def test_all_that_is_copied_is_there(name: str):
    assert all((REPOSITORY / each).exists() for each in copied(dockerfile(name)))


# --- the files


@pytest.mark.parametrize("name", IMAGES)
def test_dockerfiles(name: str):
    text = dockerfile(name)
    starts = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert starts, "no FROM"
    assert all(start.startswith("${") for start in starts)
    assert starts[-1] == ("${SWARM_BASE}" if IMAGES[name].service else "${BASE_IMAGE}")
    assert "compileall" in text or name == "proxy"  # which runs no Python
    for line in re.findall(r"^(?:ENTRYPOINT|CMD) (.*)", text, re.MULTILINE):
        assert line.startswith("["), f"{line} runs a shell, which swallows SIGTERM"


@pytest.mark.parametrize("name", SERVICES)
def test_services_can_be_asked_how_they_are(name: str):
    text = dockerfile(name)
    assert f'ENTRYPOINT ["python3", "-m", "services.{name}"]' in text
    checks = re.search(r"HEALTHCHECK .*\\\n +CMD (\[.*\])", text)
    assert checks is not None
    assert '"python' not in checks[1], "a check must not start a Python each time"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("sl", "/tmp/hpe-swarm"),
        ("sn", "/platform/swarm/SMLNODE"),
        ("swop", "/platform/swarm/usr"),
        ("swci", "/platform/swarm/usr"),
    ],
    ids=["sl", "sn", "swop", "swci"],
)
def test_volumes_that_clients_know(name: str, folder: str):
    assert re.search(rf"^VOLUME {folder}$", dockerfile(name), re.MULTILINE)
    made = dockerfile(name) + dockerfile(BASE)
    assert re.search(rf"mkdir -p -m 0777 [^&]*{folder}\b", made)


def test_versions_are_one():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    composition = (REPOSITORY / "compose/compose.swop.yaml").read_text()
    assert set(re.findall(r"\$\{SWARM_TAG:-([^}]*)\}", composition)) == {TAG}
    task = REPOSITORY / "examples/digits/swci/taskdefs/user_env_pyt_build_task.yaml"
    steps = yaml.safe_load(task.read_text())["Body"]["BuildSteps"]
    assert steps[0] == f"FROM {full_name('ml-pytorch')}"


def test_what_the_example_installs_is_in_the_image_it_starts_from():
    """Else its build needs the internet."""
    pins = dict(
        line.split("==")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    task = REPOSITORY / "examples/digits/swci/taskdefs/user_env_pyt_build_task.yaml"
    steps = yaml.safe_load(task.read_text())["Body"]["BuildSteps"]
    named = re.findall(r"(\S+)==(\S+)", next(step for step in steps if "torch==" in step))
    assert named
    installed = f"{IMAGES['ml-pytorch'].packages} {dockerfile('ml-pytorch')}".split()
    for package, version in named:
        assert pins[package] == version
        assert package in installed


def test_no_registry_is_named_anywhere():
    files = [REPOSITORY / image.dockerfile for image in IMAGES.values()]
    files += (REPOSITORY / "compose/images").glob("*.*")
    files += [REPOSITORY / "compose/compose.swop.yaml", REPOSITORY / "docs/images.md"]
    files += [REPOSITORY / "Makefile", REPOSITORY / "examples/digits/swci/taskdefs"]
    found = [f"{file}: {each}" for file in _files(files) for each in HOST.findall(file.read_text())]
    assert found == []


def _files(paths: list[Path]) -> list[Path]:
    return [each for path in paths for each in (path.rglob("*.*") if path.is_dir() else [path])]


def test_a_host_would_be_found():
    for text in (
        "FROM hub.example.io/a/b",
        "pip -i https://index.example.org/simple",
        "registry.example.com:5000/x",
    ):
        assert HOST.search(text)


# --- the composition


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, object]]:
    """Of compose.swop.yaml."""
    text = (REPOSITORY / "compose/compose.swop.yaml").read_text()
    found: dict[str, dict[str, object]] = yaml.safe_load(text)["services"]
    return found


def test_every_variable_has_a_default():
    text = re.sub(r"^#.*", "", (REPOSITORY / "compose/compose.swop.yaml").read_text(), flags=re.M)
    bare = set(re.findall(r"\$\{(\w+)\}", text))
    assert bare == {"PWD", "COMPOSE_PROJECT_NAME"}  # which Compose and every shell set


def test_only_the_proxy_has_the_engines_socket(services):
    holders = [
        name
        for name, service in services.items()
        if any("DOCKER_SOCKET" in each for each in service.get("volumes", ()))
    ]
    assert holders == ["socket-proxy"]


def test_no_container_has_more_power_than_it_needs(services):
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "pid", "ipc"} & set(service), name
        assert not service.get("ports"), name


def test_a_node_sees_its_own_key_and_no_other(services):
    for name, service in services.items():
        keys = [each for each in service.get("volumes", ()) if "/identity/" in each]
        if name not in ("prepare", "socket-proxy"):
            assert len(keys) == 1, name
            assert keys[0].endswith(":/identity:ro"), name
