"""Holds tasks and containers against the policy."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import assert_never
from urllib.parse import unquote, urlsplit

from services.common.task_body import (
    AuthFile,
    MakeSwarmUserContent,
    MakeUserContainer,
    MountType,
    Operation,
    PullImage,
    RunSwarm,
)
from services.common.task_definition import TaskDefinition
from services.swop.core.dockerfile_images import images_of
from services.swop.core.engine import (
    LABEL_SWOP,
    LABEL_TASK,
    ContainerSpec,
    MountKind,
    Role,
)
from services.swop.core.host_paths import gives_power, is_below, is_listed, overlap
from services.swop.core.policy import Policy
from services.swop.core.profile import Profile

_OWN_VOLUMES = "swop-*-swif-*"
"""Volumes in which a SL talks to its ML."""
_LONGEST_VALUE = 48
"""Characters of a value in a sentence, so that the policy's key after it fits on the ledger."""
_NOBODY = "no policy allows it"


def check_task(
    policy: Policy,
    profile: Profile,
    definition: TaskDefinition,
    *,
    isolated: bool = True,
    own_images: Collection[str] = (),
) -> list[str]:
    """Say why this task must not run here.

    Args:
        policy: what is allowed.
        profile: the SWOP's.
        definition: the task.
        isolated: False where it would run without a container (``SWOP_ENGINE=process``).
        own_images: images that the SWOP starts itself, which no task may replace: SWOP's and SL's.

    Returns:
        One sentence for each thing that is not allowed; empty: it may run.
    """
    body = definition.body
    match body:
        case RunSwarm():
            found = _run(policy, profile, body, isolated=isolated)
        case MakeUserContainer():
            found = _build(policy, profile, body, definition.outcome, own_images)
        case MakeSwarmUserContent():
            found = _content(policy, profile, body, definition.outcome)
        case PullImage():
            found = _pull(policy, body)
        case _:
            assert_never(body)
    return list(found)


def refusals(policy: Policy, spec: ContainerSpec) -> list[str]:
    """Say why this container must not be made: options, network, image, and paths of power.

    What a task may mount, `check_task` has said before.
    """
    return [*_mounts(spec), *_network(policy, spec), *_options(policy, spec), *_ml(policy, spec)]


def dockerfile_refusals(policy: Policy, dockerfile: str, field: str) -> list[str]:
    """Say why this Dockerfile must not be built: the images that it names.

    Args:
        policy: what is allowed.
        dockerfile: its text.
        field: what to call it in the sentences.
    """
    if "*" in policy.images:
        return []
    return [line for name in images_of(dockerfile) for line in _image(policy, name, field)]


def fill_refusals(policy: Policy, name: str, labels: Mapping[str, str] | None) -> list[str]:
    """Say why MAKE_SWARM_USER_CONTENT must not write into this volume.

    Args:
        policy: what is allowed.
        name: the volume's.
        labels: with which it was made; None: it is not there yet.
    """
    if labels is None or labels.keys() >= {LABEL_SWOP, LABEL_TASK} or _fits(name, policy.overwrite):
        return []
    ask = f"Outcome would overwrite the volume {_short(name)}, which no task made"
    return [_needs(ask, "overwrite")]


def url_refusals(policy: Policy, url: str, field: str) -> list[str]:
    """Say why the SWOP must not fetch this URL; hold each redirect against it, too."""
    if any(_url_fits(url, pattern) for pattern in policy.downloads):
        return []
    return [_needs(f"{field} would make the SWOP fetch {_short(url)}", "downloads")]


def _run(policy: Policy, profile: Profile, body: RunSwarm, *, isolated: bool) -> Iterator[str]:
    for at, shared in enumerate(body.shared_content):
        field = f"SharedContent[{at}].Src"
        if shared.mtype is MountType.BIND:
            yield from _bind(policy, profile, shared.src, field)
        else:
            yield from _volume(policy, profile, shared.src, field)
    names = [name for name, _ in body.envvars]
    yield from _variables(names, policy.environment_refused, "environment_refused")
    if not isolated:
        refused = policy.process.environment_refused
        yield from _variables(names, refused, "process.environment_refused")
        program = body.entrypoint_words()[0]
        if ".." in program.split("/") or not _fits(program, policy.process.entrypoints):
            ask = f"Entrypoint would start {_short(program)} on this host, without a container"
            yield _needs(ask, "process.entrypoints")


def _build(
    policy: Policy,
    profile: Profile,
    body: MakeUserContainer,
    outcome: str,
    own_images: Collection[str],
) -> Iterator[str]:
    if not policy.builds:
        yield _needs("TaskType MAKE_USER_CONTAINER builds an image", "builds")
    if _full(outcome) in {_full(image) for image in own_images}:
        yield f"Outcome would replace {_short(outcome)}, which this SWOP itself runs; {_NOBODY}"
    yield from _image(policy, outcome, "Outcome")
    if body.build_context is not None:
        yield from _volume(policy, profile, body.build_context, "BuildContext")
    url = body.url()
    if url is not None:
        yield from url_refusals(policy, url, "BuildSteps[0]")
    else:
        yield from dockerfile_refusals(policy, body.dockerfile(), "BuildSteps")


def _content(
    policy: Policy, profile: Profile, body: MakeSwarmUserContent, outcome: str
) -> Iterator[str]:
    yield from _volume(policy, profile, outcome, "Outcome")
    for at, step in enumerate(body.steps):
        if step.operation is Operation.DOWNLOAD:
            yield from url_refusals(policy, step.target, f"OpsList[{at}].Target")


def _pull(policy: Policy, body: PullImage) -> Iterator[str]:
    yield from _image(policy, body.image(), "OrgAndReg, RepoName and Tag")
    if isinstance(body.auth, AuthFile) and (
        ".." in body.auth.path.split("/") or not is_below(body.auth.path, policy.auth_files)
    ):
        yield _needs(f"Auth would read {_short(body.auth.path)} of the SWOP", "auth_files")


def _bind(policy: Policy, profile: Profile, source: str, field: str) -> Iterator[str]:
    ask = f"{field} would mount {_short(source)} of the host"
    if ".." in source.split("/"):
        yield f"{ask}, a path with ..; {_NOBODY}"
    elif gives_power(source):
        yield f"{ask}, which gives power over it; {_NOBODY}"
    elif any(overlap(source, each) for each in _identity(profile, MountType.BIND)):
        yield f"{ask}, where the profile has a node's key or certificate; {_NOBODY}"
    elif not is_listed(source, policy.binds):
        yield _needs(ask, "binds")


def _volume(policy: Policy, profile: Profile, name: str, field: str) -> Iterator[str]:
    """Yield why this volume is refused. SWARMCONTENT adds a node's index to its name."""
    names = {name, *(f"{name}-{node.idx}" for node in profile.nodes)}
    ask = f"{field} names the volume {_short(name)}"
    if names & _identity(profile, MountType.VOLUME):
        yield f"{ask}, which holds a node's key or certificate; {_NOBODY}"
    elif any(fnmatchcase(each, _OWN_VOLUMES) for each in names):
        yield f"{ask}, in which an SL talks to its ML; {_NOBODY}"
    elif not _fits(name, policy.volumes):
        yield _needs(ask, "volumes")


def _identity(profile: Profile, mtype: MountType) -> set[str]:
    """Return what the profile mounts of this kind as the SLs' identity."""
    mounted = [each for node in profile.nodes for each in node.identity]
    return {each.src for each in mounted if each.mtype is mtype}


def _variables(names: Iterable[str], refused: Iterable[str], key: str) -> Iterator[str]:
    for name in names:
        if _fits(name, refused):
            ask = f"Envvars would set {_short(name)}"
            yield f"{ask}; without it in {key} of the policy it would be allowed"


def _image(policy: Policy, image: str, field: str) -> Iterator[str]:
    if not _fits(_tagged(image), policy.images):
        yield _needs(f"{field} names the image {_short(image)}", "images")


def _mounts(spec: ContainerSpec) -> Iterator[str]:
    for mount in spec.mounts:
        if mount.kind is MountKind.BIND and gives_power(mount.source):
            ask = f"{spec.role} would mount {_short(mount.source)} of the host"
            yield f"{ask}, which gives power over it; {_NOBODY}"


def _network(policy: Policy, spec: ContainerSpec) -> Iterator[str]:
    network = spec.network or ""
    shares = network == "host" or network.startswith("container:")
    if shares and not policy.container.host_network:
        ask = f"network of the profile is {_short(network)}, the host's or another container's"
        yield _needs(ask, "container.host_network")


def _options(policy: Policy, spec: ContainerSpec) -> Iterator[str]:
    options, allowed = spec.options, policy.container
    if options.privileged and not allowed.privileged:
        yield _not_allowed("privileged", "true", "privileged")
    if options.gpus is not None and not allowed.gpus:
        yield _not_allowed("gpus", "GPUs", "gpus")
    if options.ipc is not None and not _fits(options.ipc, allowed.ipc):
        yield _not_allowed("ipc", options.ipc, "ipc")
    for option, asked, patterns, key in (
        ("device", options.devices, allowed.devices, "devices"),
        ("group-add", options.group_add, allowed.group_add, "group_add"),
        ("cap-add", options.cap_add, allowed.cap_add, "cap_add"),
        ("security-opt", options.security_opt, allowed.security_opt, "security_opt"),
    ):
        for each in asked:
            if not _fits(each, patterns):
                yield _not_allowed(option, each, key)


def _ml(policy: Policy, spec: ContainerSpec) -> Iterator[str]:
    if spec.role is Role.ML:
        yield from _image(policy, spec.image, "Outcome of the prerequisite")


def _not_allowed(option: str, value: str, key: str) -> str:
    ask = f"usrcontaineropts of the profile asks for {option} {_short(value)}"
    return _needs(ask, f"container.{key}")


def _needs(ask: str, key: str) -> str:
    return f"{ask}; {key} of the policy would allow it"


def _short(value: str) -> str:
    half = _LONGEST_VALUE // 2 - 2
    return value if len(value) <= _LONGEST_VALUE else f"{value[:half]}...{value[-half:]}"


def _fits(value: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns)


def _tagged(image: str) -> str:
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:latest"


def _full(image: str) -> str:
    """What names that may be one image have in common: Docker knows a registry that it leaves out.

    Which one, is the engine's matter; so a registry makes no difference here.
    """
    registry, slash, rest = image.partition("/")
    if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
        rest = image
    return _tagged(rest.removeprefix("library/"))


def _url_fits(url: str, pattern: str) -> bool:
    """Whether a URL fits, part by part: a ``*`` for the host never reaches into the path."""
    asked, allowed = urlsplit(url), urlsplit(pattern.replace("*://", "any://"))
    if asked.username is not None or allowed.scheme not in (asked.scheme, "any"):
        return False
    if not fnmatchcase(asked.netloc.lower(), allowed.netloc.lower()):
        return False
    if not allowed.path:
        return True
    leaves = ".." in unquote(asked.path).split("/")
    return not leaves and fnmatchcase(asked.path or "/", allowed.path)
