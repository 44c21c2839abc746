"""The files of a flow: copied into the run folder with their placeholders filled in.

    FOLDER/swci/swci-init        script; all of swci/ is SWCI's user folder
    FOLDER/swop/*profile.yaml    one SWOP each, in the order of their names; what else is in swop/,
                                 such as a policy, goes to all of their user folders
    FOLDER/*                     the ML program: goes to <PROJECT>/model
    FOLDER/user-N/               data of organisation N, if it has any: goes to <PROJECT>/user-N

The files name what differs from place to place in HPE's manner, such as ``<SWARM-NETWORK>``. How
many SL/ML pairs there are is told by ``<SL-1-PORT>``, ``<SL-2-PORT>`` and so on in the profiles.
"""

import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from compose.plan import LOOPBACK, Layout, Ports
from services.common.errors import ConfigError

SCRIPT = "swci-init"
PROFILES = "*profile.yaml"
PLACEHOLDER = re.compile(r"<[A-Z][A-Za-z0-9_-]*>")
PORT = re.compile(r"<SL-([1-9]\d?)-PORT>")
MOST_BYTES = 1 << 20
"""Of one file of SWOP's or SWCI's."""
NOT_COPIED = shutil.ignore_patterns("swci", "swop", "__pycache__", "user-*")


@dataclass(frozen=True, slots=True)
class FlowFolder:
    """Where a flow comes from."""

    path: Path
    profiles: tuple[Path, ...]
    """Of SWOP 1, 2 and so on."""
    pairs: int
    """SL/ML pairs of all of them together."""


def read(path: Path) -> FlowFolder:
    """Look what a folder asks for.

    Raises:
        ConfigError: it has no script, no profile, or the ports do not number the pairs from 1.
    """
    script = path / "swci" / SCRIPT
    if not script.is_file():
        raise ConfigError(f"{path} is no flow: it has no swci/{SCRIPT}")
    profiles = tuple(sorted((path / "swop").glob(PROFILES)))
    if not profiles:
        raise ConfigError(f"{path} is no flow: it has no swop/{PROFILES}")
    found = [PORT.findall(_text(profile)) for profile in profiles]
    numbers = sorted(int(number) for numbers in found for number in numbers)
    if numbers != list(range(1, len(numbers) + 1)):
        raise ConfigError(
            f"{path}/swop: the profiles' slport must be <SL-1-PORT>, <SL-2-PORT> and so on, each "
            f"once in all of them; there are the numbers {numbers}"
        )
    return FlowFolder(path, profiles, len(numbers))


def values(layout: Layout, ports: Ports) -> dict[str, str]:
    """What the placeholders stand for on this machine."""
    project, usr_dir = str(layout.run / "project"), str(layout.run / "swci")
    found = {
        "PROJECT": project, "PROJECT-MODEL": f"{project}/model",
        "PROJECT-CERTS": str(layout.certs), "PROJECT-CACERTS": str(layout.certs / "ca" / "capath"),
        "SN-IP": LOOPBACK, "SN-API-PORT": str(ports.sn_api[0]),
        "LICENSE-SERVER-PORT": str(ports.license), "SWARM_USER_DIRECTORY": usr_dir,
    }  # fmt: skip
    found |= dict.fromkeys(("SWARM-NETWORK", "NETWORK-NAME", "NETWORK"), "default")
    found |= dict.fromkeys(
        ("HOST_ADDRESS", "HOST-IP", "LICENSE-SERVER-ADDRESS", "APLS-IP"), LOOPBACK
    )
    found |= {f"SL-{index}-PORT": str(port) for index, port in enumerate(ports.sl, start=1)}
    return {f"<{name}>": value for name, value in found.items()}


def fill(text: str, name: str, known: Mapping[str, str]) -> str:
    """Replace placeholders.

    Args:
        text: of a file.
        name: of the file, for messages.
        known: by placeholder, with its brackets.

    Raises:
        ConfigError: one is not known. Comments may hold any.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        unknown = [
            word for word in PLACEHOLDER.findall(line.partition("#")[0]) if word not in known
        ]
        if unknown:
            raise ConfigError(
                f"{name}:{number}: nothing to put in place of {unknown[0]}; known are "
                f"{', '.join(sorted(known))}"
            )
    return PLACEHOLDER.sub(lambda found: known.get(found[0], found[0]), text)


def copy(folder: FlowFolder, layout: Layout, known: Mapping[str, str]) -> None:
    """Make the user folders of SWCI and of each SWOP, and the project folder.

    Raises:
        ConfigError: a file is unreadable or has an unknown placeholder.
    """
    try:
        _copy_filled(folder.path / "swci", layout.run / "swci", known)
        for index, profile in enumerate(folder.profiles, start=1):
            others = {each.name for each in folder.profiles if each != profile}
            usr_dir = layout.node(f"swop-{index}")
            _copy_filled(folder.path / "swop", usr_dir, known, others)
        shutil.copytree(folder.path, layout.run / "project" / "model", ignore=NOT_COPIED)
        for index in range(1, folder.pairs + 1):
            _copy_data(folder.path / f"user-{index}", layout.run / "project" / f"user-{index}")
    except (OSError, shutil.Error) as exc:
        raise ConfigError(f"cannot copy {folder.path} into {layout.run}: {exc}") from exc


def _copy_filled(
    source: Path, target: Path, known: Mapping[str, str], leave: Collection[str] = ()
) -> None:
    """Copy a folder of text files, all of them filled in, but not those named in ``leave``."""
    target.mkdir(parents=True)
    for file in sorted(source.rglob("*")):
        if file.is_file() and file.name not in leave:
            copied = target / file.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_text(fill(_text(file), str(file), known))


def _copy_data(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        target.mkdir(parents=True)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path}: more than {MOST_BYTES} bytes")
        return path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: no readable text: {exc}") from exc
