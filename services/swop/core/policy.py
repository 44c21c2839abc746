"""What tasks and profiles may ask of this host (``docs/swop-policy.md``).

Two voices ask: the profile, written by who runs this host, and tasks, which come over the chain
from anybody with a SWCI certificate. The policy is the host's owner's word about both. What it
does not name has the safe default below; HPE's SWOP accepts everything.
"""

from dataclasses import dataclass, field
from typing import Any

from services.common import yaml_schema
from services.common.placeholders import with_forgotten
from services.common.yaml_schema import Problem
from services.common.yaml_text import load
from services.common.yaml_tree import Value

_SCHEMA = yaml_schema.load("services.swop.core", "policy.schema.json")


@dataclass(frozen=True, slots=True)
class ContainerPolicy:
    """What an ML container may have, as ``usrcontaineropts`` and ``network`` ask for it."""

    privileged: bool = False
    host_network: bool = False
    """``host`` and ``container:...``."""
    ipc: tuple[str, ...] = ("private", "none", "shareable")
    cap_add: tuple[str, ...] = ()
    """Patterns, as all tuples here and below are."""
    security_opt: tuple[str, ...] = ("no-new-privileges", "no-new-privileges:true")
    """Those that take rights away."""
    devices: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    gpus: bool = True


@dataclass(frozen=True, slots=True)
class ProcessPolicy:
    """What a task may do where it runs as the SWOP's own user, without a container."""

    entrypoints: tuple[str, ...] = ()
    """Programs. None by default: a task that may start ``python3`` may do all that the SWOP may,
    such as read its private key."""
    environment_refused: tuple[str, ...] = (
        *("PATH", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "PS4", "BASH_FUNC_*"),
        *("LD_*", "DYLD_*", "GCONV_PATH", "PYTHON*", "PERL*", "RUBY*", "NODE_OPTIONS"),
    )
    """They make a permitted program run something else."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is allowed."""

    images: tuple[str, ...] = ("*",)
    """Images that tasks run, build, build from and pull; without a tag ``:latest`` is meant."""
    binds: tuple[str, ...] = ()
    """Folders of the host that a task's SharedContent may bind; ``folder/*``: with all below,
    which trusts whoever can make symbolic links there. What the profile mounts itself (identity,
    privatedata) needs no permission."""
    volumes: tuple[str, ...] = ("*",)
    """Named volumes that tasks mount, fill and build from."""
    overwrite: tuple[str, ...] = ()
    """Named volumes that MAKE_SWARM_USER_CONTENT may fill although no task made them."""
    builds: bool = True
    downloads: tuple[str, ...] = ("https://*",)
    """URLs that the SWOP itself fetches for tasks."""
    auth_files: tuple[str, ...] = ("/platform/swarm/usr",)
    """Folders for PULL_IMAGE's Auth file."""
    environment_refused: tuple[str, ...] = (
        *("SWARM_ID_*", "SWARM_SPIFFE_*", "SL_REQUEST_CHANNEL", "SL_RESPONSE_CHANNEL"),
    )
    """Variables that a task must not set: the SWOP sets them, or nobody."""
    container: ContainerPolicy = field(default_factory=ContainerPolicy)
    process: ProcessPolicy = field(default_factory=ProcessPolicy)


DEFAULT_POLICY = Policy()


def parse_policy(text: str, name: str) -> Policy:
    """Read a policy file. A key that nobody knows is an error: it may have been meant to forbid.

    Args:
        text: the file's content.
        name: what to call it in messages.

    Raises:
        ConfigError: something in it is wrong; one line for each such thing.
    """
    document = load(text, name)
    problems = yaml_schema.check(document, _SCHEMA)
    yaml_schema.refuse(document, with_forgotten(document.value, problems) + _idle(document.value))
    given = _given(document.value)
    container = ContainerPolicy(**_plain(given.pop("container", None)))
    process = ProcessPolicy(**_plain(given.pop("process", None)))
    return Policy(**_plain(given), container=container, process=process)


def _idle(value: Value) -> list[Problem]:
    """Return a problem for an entry that looks as if it allowed everything and allows nothing."""
    binds = value.get("binds") if isinstance(value, dict) else None
    text = "/ itself can never be bound; for all that lies below it write /*"
    listed = enumerate(binds) if isinstance(binds, list) else ()
    return [Problem(("binds", at), text) for at, entry in listed if entry == "/"]


def _given(value: Value) -> dict[str, Value]:
    """Return the keys that have a value."""
    assert value is None or isinstance(value, dict)
    return {key: each for key, each in (value or {}).items() if each is not None}


def _plain(value: Value) -> dict[str, Any]:
    """Return a mapping's values as the dataclasses hold them; the schema has checked them."""
    return {
        key: tuple(each) if isinstance(each, list) else each for key, each in _given(value).items()
    }
