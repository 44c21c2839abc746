"""One node of a SWOP profile: a pair of SL and ML containers (``slnodedef``)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.common.env_list import Env, env_of, text_of
from services.common.task_body import MountType
from services.common.task_checks import mount_source
from services.common.yaml_fields import Fields
from services.common.yaml_schema import Problem
from services.common.yaml_tree import Path, Value
from services.swop.core.container_options import option_problems, options_of
from services.swop.core.engine import ContainerOptions

Labels = tuple[tuple[str, str], ...]
"""Names and values."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One piece of an SL's identity: a file or folder that is mounted into its container."""

    kind: str
    """KEY, CERT, CACERT, CAPATH or SPIFFE_SOCKETPATH."""
    mtype: MountType
    src: str
    """BIND: absolute path of the host; VOLUME: its name."""
    tgt: str
    """Where it is mounted."""
    sub_path: str | None = None
    """Where the thing itself lies, below `tgt`."""

    @property
    def path(self) -> str:
        """Where the SL finds it: the value of its environment variable."""
        return f"{self.tgt.rstrip('/')}/{self.sub_path.lstrip('/')}" if self.sub_path else self.tgt

    @property
    def variable(self) -> str:
        """The SL's environment variable for it."""
        if self.kind == "SPIFFE_SOCKETPATH":
            return "SWARM_SPIFFE_WORKLOAD_API_SOCKET_PATH"
        return f"SWARM_ID_{self.kind}"


@dataclass(frozen=True, slots=True)
class PrivateData:
    """What a node's ML container sees at the task's PrivateContent."""

    src: str
    """BIND: absolute path of the host; VOLUME: its name."""
    mtype: MountType


@dataclass(frozen=True, slots=True)
class NodeDefinition:
    """One pair of SL and ML (``slnodedef``)."""

    idx: int
    identity: tuple[Attribute, ...] = ()
    slhostname: str | None = None
    slhostip: str | None = None
    """Address of this host as other hosts reach it."""
    slport: int | None = None
    """Port of this host that leads to the SL; None: none is published."""
    slfsservice: str | None = None
    """``fqdn[:port]``."""
    slenvvars: Env = ()
    sllabels: Labels = ()
    slip: str | None = None
    """Fixed address of the SL container in the network."""
    privatedata: PrivateData | None = None
    usrhostname: str | None = None
    usrenvvars: Env = ()
    usrlabels: Labels = ()
    usrip: str | None = None
    usroptions: ContainerOptions = field(default_factory=ContainerOptions)


def node_of(fields: Fields) -> NodeDefinition:
    """Return the node that these fields describe; they have been checked."""
    private = fields.inner("privatedata")
    return NodeDefinition(
        idx=fields.number("idx") or 0,
        identity=tuple(_attribute(each) for each, _ in _attributes(fields)),
        slhostname=fields.optional("slhostname"),
        slhostip=fields.optional("slhostip"),
        slport=fields.number("slport") or None,
        slfsservice=fields.optional("slfsservice"),
        slenvvars=env_of(fields.listed("slenvvars")),
        sllabels=_labels(fields.value.get("sllabels")),
        slip=_address(fields.listed("slnetworkopts")),
        privatedata=PrivateData(private.text("src"), MountType(private.text("mType")))
        if private.value
        else None,
        usrhostname=fields.optional("usrhostname"),
        usrenvvars=env_of(fields.listed("usrenvvars")),
        usrlabels=_labels(fields.value.get("usrlabels")),
        usrip=_address(fields.listed("usrnetworkopts")),
        usroptions=options_of(fields.listed("usrcontaineropts")),
    )


def _attribute(fields: Fields) -> Attribute:
    return Attribute(
        fields.text("aType"),
        MountType(fields.text("mType")),
        fields.text("src"),
        fields.text("tgt"),
        fields.optional("subPath"),
    )


def _labels(value: Value) -> Labels:
    """Return labels of a mapping, or of a list of names and mappings; names get empty values."""
    labels: dict[str, str] = {}
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            labels |= {name: text_of(each) for name, each in item.items()}
        elif item is not None:
            labels[text_of(item)] = ""
    return tuple(labels.items())


def _address(options: Sequence[Value]) -> str | None:
    found = [Fields(option).optional("ip") for option in options]
    return next((ip for ip in reversed(found) if ip), None)


def problems(node: Fields, path: Path) -> Iterator[Problem]:
    """Yield what is wrong with a node beyond its schema."""
    kinds: set[str] = set()
    for each, at in _attributes(node, path):
        yield from mount_source(each.text("mType"), each.text("src"), (*at, "src"))
        if each.text("aType") in kinds:
            yield Problem((*at, "aType"), f"this node has a {each.text('aType')} already")
        kinds.add(each.text("aType"))
    private = node.inner("privatedata")
    if private.value:
        kind, source = private.text("mType"), private.text("src")
        yield from mount_source(kind, source, (*path, "privatedata", "src"))
    yield from option_problems(node.listed("usrcontaineropts"), (*path, "usrcontaineropts"))


def unique_things(node: Fields) -> Iterator[tuple[str, str, str]]:
    """Yield what no two nodes can have both: kind, value, key in the node."""
    yield "idx", str(node.number("idx")), "idx"
    port = node.number("slport")
    if port:
        yield "port", str(port), "slport"
    for key in ("slnetworkopts", "usrnetworkopts"):
        address = _address(node.listed(key))
        if address:
            yield "address", address, key


def doubts(node: Fields, path: Path) -> Iterator[Problem]:
    """Yield a warning for each thing that will probably not work."""
    kinds = {each.text("aType") for each, _ in _attributes(node)}
    if not {"KEY", "CERT"} <= kinds and "SPIFFE_SOCKETPATH" not in kinds:
        text = "has no KEY and CERT, and no SPIFFE_SOCKETPATH: the SL will have no certificate"
        yield Problem((*path, "identity"), text)


def _attributes(node: Fields, path: Path = ()) -> Iterator[tuple[Fields, Path]]:
    for at, item in enumerate(node.listed("identity")):
        yield Fields(item).inner("attribute"), (*path, "identity", at, "attribute")
