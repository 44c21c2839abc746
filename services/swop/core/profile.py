"""The SWOP profile: what this host offers to a taskrunner (``compat/04`` section 1).

HPE's schema is looser than it looks, so a key that nobody knows is a warning. Nothing given, null
and a missing key are the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from services.common import yaml_schema
from services.common.env_list import Env, env_of
from services.common.placeholders import with_forgotten
from services.common.task_api import DEFAULT_TASKRUNNER
from services.common.task_checks import nul
from services.common.yaml_fields import Fields
from services.common.yaml_schema import Problem
from services.common.yaml_text import load
from services.common.yaml_tree import Path
from services.swop.core import node_definition
from services.swop.core.node_definition import NodeDefinition

DEFAULT_APLS_PORT = 5814
DEFAULT_NETWORK = "default"
"""Docker's default bridge."""
_SCHEMA = yaml_schema.load("services.swop.core", "profile.schema.json")


@dataclass(frozen=True, slots=True)
class Apls:
    """License server of the SL containers."""

    host: str
    port: int = DEFAULT_APLS_PORT


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The SN that the profile names; what is None comes from the SWOP's own settings."""

    host: str | None = None
    port: int | None = None
    service: str | None = None
    """``fqdn[:port]``."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A SWOP's profile."""

    groupname: str
    nodes: tuple[NodeDefinition, ...]
    taskrunner: str = DEFAULT_TASKRUNNER
    policy: str | None = None
    """Path of the policy file that it names."""
    network: str = DEFAULT_NETWORK
    apls: Apls | None = None
    """None: the SLs run without a license server (ours)."""
    apisrv: ApiServer = field(default_factory=ApiServer)
    envvars: Env = ()
    dns: tuple[str, ...] = ()


def parse(text: str, file_name: str) -> tuple[Profile, list[str]]:
    """Read a profile.

    Args:
        text: the file's content.
        file_name: what to call it in messages.

    Returns:
        The profile, and warnings for people, such as keys that nobody knows.

    Raises:
        ConfigError: something essential is missing or wrong; one line for each such thing.
    """
    document = load(text, file_name)
    problems = with_forgotten(document.value, yaml_schema.check(document, _SCHEMA))
    yaml_schema.refuse(document, [each for each in problems if not each.unknown_key])
    warnings = [each for each in problems if each.unknown_key]
    fields = Fields(document.value)
    yaml_schema.refuse(document, list(_problems(fields)))
    for node, path in _nodes(fields):
        warnings += node_definition.doubts(node, path)
    return _profile(fields), yaml_schema.told(document, warnings)


def _profile(fields: Fields) -> Profile:
    apls = fields.inner("apls").inner("locator")
    host = apls.optional("host")
    apisrv = fields.inner("apisrv").inner("locator")
    return Profile(
        groupname=fields.text("groupname"),
        nodes=tuple(node_definition.node_of(each) for each, _ in _nodes(fields)),
        taskrunner=fields.optional("taskrunner") or DEFAULT_TASKRUNNER,
        policy=_policy_path(fields),
        network=fields.optional("network") or DEFAULT_NETWORK,
        apls=Apls(host, apls.number("port") or DEFAULT_APLS_PORT) if host else None,
        apisrv=ApiServer(
            apisrv.optional("host"), apisrv.number("port") or None, apisrv.optional("service")
        ),
        envvars=env_of(fields.listed("envvars")),
        dns=fields.texts("dns"),
    )


def _policy_path(fields: Fields) -> str | None:
    uri = fields.optional("policyuri")
    return urlsplit(uri).path if uri and uri.startswith("file:") else uri or None


def _nodes(fields: Fields) -> Iterator[tuple[Fields, Path]]:
    for at, item in enumerate(fields.listed("nodes")):
        yield Fields(item).inner("slnodedef"), ("nodes", at, "slnodedef")


def _problems(fields: Fields) -> Iterator[Problem]:
    yield from nul(dict(fields.value), ())
    uri = fields.optional("policyuri") or ""
    if "://" in uri and not uri.startswith("file:///"):
        text = f"{uri} is not the path of a file, or file:///path; policies are read from files"
        yield Problem(("policyuri",), text)
    taken: dict[tuple[str, str], int] = {}
    for node, path in _nodes(fields):
        yield from node_definition.problems(node, path)
        idx = node.number("idx") or 0
        for kind, value, key in node_definition.unique_things(node):
            if (kind, value) in taken:
                by = f" (idx {taken[kind, value]})" if kind != "idx" else ""
                yield Problem((*path, key), f"{kind} {value} belongs to another node{by} already")
            taken.setdefault((kind, value), idx)
