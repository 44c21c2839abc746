"""Writes a network's folder: all of it or nothing, keys readable by their owner only.

DIR/compose.yaml  compose.rpc.yaml  .env  config/{genesis.json,config.toml}
DIR/besu-N/{key,static-nodes.json,permissions_config.toml}    data folder of a validator
DIR/sn-N/account.key  sn-N.env                                an SN's account, its environment
"""

import json
import os
import shutil
from pathlib import Path

from compose.authority import write_private
from compose.besu import composition, settings
from compose.besu.genesis import genesis
from compose.besu.network import Network
from services.common.errors import ConfigError

ROOT = 0
BESU_USER = 1000
"""User of the image; validators run as it where root made the folder."""
KEY_FILE = "key"
"""Where Besu looks for a node's key."""
ACCOUNT_FILE = "account.key"
"""Where an SN looks for its account's key."""


def write(network: Network, folder: Path) -> None:
    """Write ``folder``.

    Raises:
        ConfigError: it is not empty, or cannot be written.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty: name a new folder (it will hold keys)")
        try:
            _write_all(network, folder.resolve())
        except BaseException:
            _clear(folder, made)
            raise
    except OSError as exc:
        raise ConfigError(f"cannot write {folder}: {exc}") from exc


def _write_all(network: Network, folder: Path) -> None:
    folder.chmod(0o700)
    (folder / "config").mkdir()
    (folder / "config").chmod(0o755)  # whatever the umask: a container's user reads it
    owner = BESU_USER if os.getuid() == ROOT else os.getuid()
    group = BESU_USER if os.getuid() == ROOT else os.getgid()
    texts = {
        "compose.yaml": composition.compose_yaml(network),
        "compose.rpc.yaml": composition.rpc_yaml(network),
        ".gitignore": "*\n",  # there are keys in it
        ".env": composition.environment(network, f"{owner}:{group}"),
        "config/genesis.json": json.dumps(genesis(network), indent=1) + "\n",
        "config/config.toml": settings.config_toml(network),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    for validator, account in zip(network.validators, network.sns, strict=True):
        node = folder / validator.name
        node.mkdir(mode=0o700)
        write_private(node / KEY_FILE, validator.key.text().encode())
        (node / "static-nodes.json").write_text(settings.static_nodes(network))
        (node / "permissions_config.toml").write_text(settings.permissions_toml(network))
        _give(node, owner, group)
        sn = folder / f"sn-{validator.index}"
        sn.mkdir(mode=0o700)
        write_private(sn / ACCOUNT_FILE, account.text().encode())
        sn.with_name(f"{sn.name}.env").write_text(
            composition.sn_environment(network, validator, str(sn))
        )


def _give(node: Path, owner: int, group: int) -> None:
    """Let the container's user have a validator's folder."""
    if os.getuid() == ROOT:
        for path in (*node.iterdir(), node):
            os.chown(path, owner, group)


def _clear(folder: Path, made: bool) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if made:
        folder.rmdir()
