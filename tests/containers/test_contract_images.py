"""What an image itself promises: labels, ports, volumes, size, nothing in it that need not be."""

import json

import pytest

from compose.images.catalogue import IMAGES, PREFIX, VERSION, full_name
from tests.containers.conftest import why_not
from tests.containers.contract_host import NEEDED, TAG
from tests.containers.hpe_scripts import docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

LARGEST = 350_000_000
PORTS = {
    "license": {"5814/tcp"}, "sn": {"30303/tcp", "30304/tcp"}, "sl": {"30305/tcp"},
    "swci": {"30306/tcp"}, "swop": set(),
}  # fmt: skip
VOLUMES = {
    "license": "/hpe", "sn": "/platform/swarm/SMLNODE", "sl": "/tmp/hpe-swarm",
    "swci": "/platform/swarm/usr", "swop": "/platform/swarm/usr",
}  # fmt: skip
SECRETS = ("PRIVATE KEY", "password", "token=", "index-url", "extra-index", "BEGIN CERT")
LOOK = """
set -e
find / -xdev -type f -perm /6000 | sed 's/^/SETUID /'
find /root/.cache /tmp /run/secrets -type f 2>/dev/null | sed 's/^/LEFT /'
find /opt/swarm /opt/venv/lib -name '*.py' -not -path '*/tests/*' | head -400 | while read f; do
    test -e "$(dirname "$f")/__pycache__/$(basename "$f" .py).cpython-311.pyc" || echo "PLAIN $f"
done | head -20
stat -c 'MODE %a' "$1"
command -v hostname
"""


@pytest.fixture(params=NEEDED)
def name(request) -> str:
    if reason := why_not(NEEDED):
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    return str(request.param)


@pytest.fixture
def image(name: str) -> str:
    return full_name(name, PREFIX, TAG)


def test_configuration(name: str, image: str):
    found = json.loads(docker("image", "inspect", image))[0]
    config = found["Config"]
    labels = config["Labels"]
    stem = "org.opencontainers.image"
    assert labels[f"{stem}.title"] == f"Swarm Learning: {IMAGES[name].title}"
    assert labels[f"{stem}.description"] == IMAGES[name].description
    assert labels[f"{stem}.version"] == VERSION
    assert labels[f"{stem}.licenses"] == "Apache-2.0"
    assert {f"{stem}.revision", f"{stem}.created"} <= set(labels)
    assert config["Entrypoint"] == ["python3", "-m", f"services.{name}"]
    assert not config.get("Cmd")
    assert config["StopSignal"] == "SIGTERM"
    assert config.get("User", "") in ("", "root", "0")
    assert set(config.get("ExposedPorts") or {}) == PORTS[name]
    assert set(config["Volumes"]) == {VOLUMES[name]}
    assert config["Healthcheck"]["Test"][:1] == ["CMD"]
    assert "USR_DIR=/platform/swarm/usr" in config["Env"]
    assert found["Size"] <= LARGEST


def test_no_secrets_in_its_history(image: str):
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Comment}}", image)
    assert [word for word in SECRETS if word.lower() in history.lower()] == []


def test_nothing_in_it_that_need_not_be(name: str, image: str):
    said = docker(
        "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", LOOK, "sh",
        VOLUMES[name],
    )  # fmt: skip
    assert said.splitlines() == ["MODE 777", "/usr/bin/hostname"]


def test_it_compiles_nothing_at_its_start(name: str, image: str):
    """Without a certificate it ends soon, but it has imported everything by then."""
    container = docker("create", "--network", "none", image)
    try:
        docker("start", "--attach", container, check=False)
        changed = docker("diff", container).splitlines()
        assert [line for line in changed if ".pyc" in line or "__pycache__" in line] == []
    finally:
        docker("rm", "--volumes", container)
