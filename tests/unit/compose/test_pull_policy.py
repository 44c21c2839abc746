"""No composition looks for our images in a public registry, where anybody may own their name."""

import pytest
import yaml

from compose.plan import REPOSITORY

COMPOSE = REPOSITORY / "compose"
OURS = "${SWARM_IMAGES:-swarm-learning}/"
FILES = [
    str(path.relative_to(COMPOSE))
    for path in sorted(COMPOSE.rglob("*.yaml"))
    if OURS in path.read_text()
]


def test_the_files_with_our_images():
    assert {"compose.yaml", "compose.swop.yaml", "multi-host/compose.yaml"} < set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_every_service_with_our_image_is_never_pulled_unless_the_user_says_so(file):
    text = (COMPOSE / file).read_text()
    services = yaml.safe_load(text)["services"]
    ours = [name for name, service in services.items() if OURS in service.get("image", "")]
    assert ours
    policies = {name: services[name].get("pull_policy") for name in ours}
    assert set(policies.values()) == {"${SWARM_PULL:-never}"}, policies
    assert "SWARM_PULL" in text.partition("services:")[0].partition("x-")[0], "its head says so"
