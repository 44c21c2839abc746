"""Serves the license API and ends leases that nobody renews."""

import asyncio
import logging

from services.common.clock import steady_time
from services.common.errors import ConfigError
from services.common.identity_watch import kept_identity
from services.common.ids import NodeKind
from services.common.rest import listen, serving
from services.common.tls import Identity
from services.license.adapters.keyring import Keyring
from services.license.adapters.office import Office
from services.license.adapters.store import Store, StoreError
from services.license.api import license_app
from services.license.settings import LicenseSettings

log = logging.getLogger("swarm.license")

DATABASE = "licenses.sqlite"
SWEEPS_PER_LEASE = 30
"""How often expired leases are looked for in the length of a lease (each request does so too)."""


async def serve(settings: LicenseSettings) -> None:
    """Run the license server until cancelled.

    Raises:
        ConfigError: identity, port or data folder cannot be used.
    """
    async with kept_identity(settings, NodeKind.LICENSE) as identity:
        await _serve(settings, identity)


async def _serve(settings: LicenseSettings, identity: Identity) -> None:
    sock = listen(settings.swarm_bind_ip, settings.license_port, "the license server")
    try:
        store = _open_store(settings)
        try:
            office = Office(
                store, Keyring(settings.license_data_dir), steady_time, settings.license_lease_s
            )
            office.open()
            log.info("server id %s, data in %s", office.server_id, settings.license_data_dir)
            async with serving(license_app(office), sock, identity):
                log.info("License server ready on port: %d", sock.getsockname()[1])
                await _sweep(office, settings.license_lease_s / SWEEPS_PER_LEASE)
        finally:
            store.close()
    finally:
        sock.close()


def _open_store(settings: LicenseSettings) -> Store:
    folder = settings.license_data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise ConfigError(
            f"cannot use LICENSE_DATA_DIR={folder}: {exc.strerror}. Name a folder that this "
            "process may write"
        ) from exc
    return Store(folder / DATABASE)


async def _sweep(office: Office, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await asyncio.to_thread(office.sweep)
        except StoreError as exc:
            log.error("%s", exc)  # noqa: TRY400 - no traceback for users
