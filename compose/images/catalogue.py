"""Which images there are, and the command that builds one; pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from services.common.errors import ConfigError

VERSION = "0.1.0"
PREFIX = "swarm-learning"
TAG = VERSION
SOURCES = "swarm.sources"
"""Label: digest of the sources that an image was built from."""
BASE_SOURCES = "swarm.base"
"""Label of the base, which those built on it inherit: digest of its sources, the same for all."""
BASE = "base"
"""What all services are built on."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image."""

    dockerfile: str
    """Path in the repository."""
    title: str
    description: str
    service: bool = True
    """Whether it is built on :data:`BASE`."""
    packages: str = ""
    """What an ML environment installs beside our client."""
    asked_for: bool = False
    """Whether it is built only when it is named: it needs Debian packages, which not all have."""


ML = "compose/images/ml/Dockerfile"

IMAGES: Mapping[str, Image] = {
    BASE: Image(
        "compose/images/base/Dockerfile", "Base of the services",
        "What all services share", service=False,
    ),
    "license": Image(
        "services/license/Dockerfile", "License server", "Hands out leases of licences",
    ),
    "sn": Image(
        "services/sn/Dockerfile", "Swarm Network node",
        "Keeps the metadata of trainings on an Ethereum chain that it shares with other SNs",
    ),
    "sl": Image(
        "services/sl/Dockerfile", "Swarm Learning node",
        "Trains together with others: exchanges an ML program's parameters",
    ),
    "swop": Image(
        "services/swop/Dockerfile", "SWOP, runs tasks on a host",
        "Builds images and starts SL and ML containers as the operators' tasks say",
    ),
    "swci": Image(
        "services/swci/Dockerfile", "SWCI, the operators' shell",
        "Shell and REST API for contracts, tasks and nodes",
    ),
    "tools": Image(
        "compose/images/tools/Dockerfile", "Certificates, flows, socket proxy",
        "What compositions need beside the nodes",
    ),
    "ml-pytorch": Image(
        ML, "PyTorch and client", "An environment for ML programs, a model for your own",
        service=False, packages="torch torchmetrics",
    ),
    "ml-keras": Image(
        ML, "Keras and client", "An environment for ML programs, a model for your own",
        service=False, packages="tensorflow-cpu",
    ),
    "proxy": Image(
        "compose/images/proxy/Dockerfile", "Passes TLS on by name",
        "Reverse proxy in front of an organisation's nodes", service=False, asked_for=True,
    ),
}  # fmt: skip
"""In the order in which they are built."""
BY_DEFAULT = [name for name, image in IMAGES.items() if not image.asked_for]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a build takes from the machine."""

    base_image: str
    wheels_image: str
    """``scratch`` where there are none."""
    secrets: Mapping[str, str]
    """Files by the name of the secret; never in the image."""
    revision: str = ""
    created: str = ""
    """When that revision was made; the same sources make the same labels."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Digests by the name of the image."""
    mirror: str = ""
    """URL of a Debian mirror, for base images that name none."""


def check(names: Collection[str]) -> None:
    """Check the names of images.

    Raises:
        ConfigError: there is no such image.
    """
    for name in names:
        if name not in IMAGES:
            raise ConfigError(f"no image called {name!r}; there are {', '.join(IMAGES)}")


def full_name(name: str, prefix: str = PREFIX, tag: str = TAG) -> str:
    """What the engine calls image ``name``."""
    return f"{prefix}/{name}:{tag}"


def command(name: str, prefix: str, tag: str, around: Surroundings) -> list[str]:
    """The words that build image ``name``, the repository's root being the context."""
    image = IMAGES[name]
    arguments = {"WHEELS_IMAGE": around.wheels_image}
    if image.service:
        arguments["SWARM_BASE"] = full_name(BASE, prefix, tag)
    else:
        arguments["BASE_IMAGE"] = around.base_image
    if image.packages:
        arguments["PACKAGES"] = image.packages
    if image.asked_for and around.mirror:
        arguments["DEBIAN_MIRROR"] = around.mirror
    labels = {
        "title": f"Swarm Learning: {image.title}",
        "description": image.description,
        "version": VERSION,
        "licenses": "Apache-2.0",
        "revision": around.revision,
        "created": around.created,
    }
    words = ["docker", "buildx", "build", "--load", "--file", image.dockerfile]
    words += ["--tag", full_name(name, prefix, tag)]
    for key, value in arguments.items():
        words += ["--build-arg", f"{key}={value}"]
    for key, value in labels.items():
        words += ["--label", f"org.opencontainers.image.{key}={value}"]
    sources = around.sources.get(name, "")
    words += ["--label", f"{SOURCES}={sources}"]
    if name == BASE:
        words += ["--label", f"{BASE_SOURCES}={sources}"]
    for key, path in around.secrets.items():
        words += ["--secret", f"id={key},src={path}"]
    return [*words, "."]


def with_base(names: Collection[str]) -> list[str]:
    """``names`` in the order of building, and the base where a service needs it.

    The base is built each time, so that no service stands on an old one; what has not changed is
    in the engine's cache.

    Args:
        names: of :data:`IMAGES`.
    """
    wanted = set(names)
    if any(IMAGES[name].service for name in names):
        wanted.add(BASE)
    return [name for name in IMAGES if name in wanted]
