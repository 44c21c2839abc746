"""Serves the license API and ends leases that nobody renews."""

import asyncio
import logging

from services.common.clock import steady_time
from services.common.identity_watch import kept_identity
from services.common.ids import NodeKind
from services.common.rest import listen, serving
from services.common.tls import Identity
from services.license import pages
from services.license.adapters.desk import Desk
from services.license.adapters.store import StoreError, open_store
from services.license.api import license_app
from services.license.settings import LicenseSettings

log = logging.getLogger("swarm.license")

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
        store = open_store(settings.license_data_dir)
        try:
            desk = Desk.make(
                store, settings.license_data_dir, steady_time, settings.license_lease_s,
                certificate_ends=lambda: identity.certificate.not_after,
            )  # fmt: skip
            desk.open()
            log.info("server id %s, data in %s", desk.shelf.server_id, settings.license_data_dir)
            async with serving(
                license_app(desk, [pages.routes()]),
                sock,
                identity,
                client_certificate_optional=True,
            ):
                log.info("License server ready on port: %d", sock.getsockname()[1])
                await _sweep(desk, settings.license_lease_s / SWEEPS_PER_LEASE)
        finally:
            store.close()
    finally:
        sock.close()


async def _sweep(desk: Desk, every_s: float) -> None:
    while True:
        try:
            await asyncio.to_thread(desk.sweep)
        except StoreError as exc:
            log.error("%s", exc)  # noqa: TRY400 - no traceback for users
        await asyncio.sleep(every_s)
