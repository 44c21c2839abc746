"""An identity from SPIFFE's Workload API: an X.509 SVID and trust bundles, kept up to date.

The agent (e.g. SPIRE's) attests this process by its socket, so there is no secret on disk: the key
stays in memory. A thread follows the API's stream; an agent that is away is asked again and again,
and meanwhile what it sent last goes on. The library and gRPC (25 MB) load only with SPIFFE.
"""

import contextlib
import logging
import os
import threading
from time import monotonic, sleep
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from services.common.certificate import spiffe_role
from services.common.errors import ConfigError, RemoteError
from services.common.ids import NodeKind
from services.common.material import Material
from services.common.settings import NodeSettings

if TYPE_CHECKING:
    from spiffe.workloadapi.x509_context import X509Context

log = logging.getLogger("swarm.tls")

RETRY_S, RETRY_MAX_S = 0.5, 5.0
LOOK_AGAIN_S = 0.1
TELL_S = 10.0
"""Seconds between two log lines while a node waits for its first SVID."""


def socket_path(said: str) -> str:
    """The path in ``SWARM_SPIFFE_WORKLOAD_API_SOCKET_PATH``: with or without ``unix:``.

    Raises:
        ConfigError: it is no absolute path of a socket.
    """
    path = said.removeprefix("unix:")
    if not path.startswith("/"):
        raise ConfigError(
            f"SWARM_SPIFFE_WORKLOAD_API_SOCKET_PATH={said}: name the agent's socket by its "
            "absolute path, e.g. /tmp/spire-agent/public/api.sock or unix:///run/api.sock"
        )
    return "/" + path.lstrip("/")


def refuse_both(settings: NodeSettings) -> None:
    """Check that a node does not have files, too.

    Raises:
        ConfigError: it has.
    """
    files = ("swarm_id_key", "swarm_id_cert", "swarm_id_cacert", "swarm_id_capath")
    named = [name.upper() for name in files if getattr(settings, name) is not None]
    if named:
        raise ConfigError(
            f"SWARM_SPIFFE_WORKLOAD_API_SOCKET_PATH and {', '.join(named)} are set: a node has an "
            "identity from SPIFFE or from files. Unset one or the other"
        )


def material_of(context: "X509Context", role: NodeKind) -> Material:
    """What the Workload API sent, as an identity: the first SVID of our role, and all bundles.

    Raises:
        ConfigError: it will not do, e.g. no SVID is of this role.
    """
    svids = context.x509_svids
    if not svids:
        raise ConfigError("the SPIFFE Workload API sent no SVID: add a registration entry for us")
    mine = next((each for each in svids if spiffe_role(str(each.spiffe_id)) is role), svids[0])
    domains = {
        str(bundle.trust_domain): frozenset(
            ca.public_bytes(Encoding.DER) for ca in bundle.x509_authorities
        )
        for bundle in context.x509_bundle_set.bundles
    }
    cas = {
        ca.public_bytes(Encoding.DER): ca
        for bundle in context.x509_bundle_set.bundles
        for ca in bundle.x509_authorities
    }
    material = Material(
        where=f"the SVID {mine.spiffe_id}", key=mine.private_key, chain=tuple(mine.cert_chain),
        trusted=tuple(cas[der] for der in sorted(cas)), domains=domains,
    )  # fmt: skip
    if not material.trusted:
        raise ConfigError("the SPIFFE Workload API sent no CA to trust: its bundles are empty")
    material.check(role)
    return material


class SpiffeSource:
    """Follows the Workload API from its start to :meth:`close`.

    Args:
        settings: names the socket.
        role: what the node is; its SPIFFE ID must say the same.

    Raises:
        ConfigError: the settings name no socket, or files, too.
    """

    def __init__(self, settings: NodeSettings, role: NodeKind) -> None:
        refuse_both(settings)
        self.path = socket_path(settings.swarm_spiffe_workload_api_socket_path)
        self._role = role
        self._lock = threading.Lock()
        self._fresh: Material | None = None
        self._trouble = ""
        """Why what was sent cannot be used."""
        self._away = ""
        """Why nothing is sent."""
        self._told = ""
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="spiffe", daemon=True).start()

    def changed(self) -> Material | None:
        """What was sent since; raises ConfigError where it cannot be used."""
        with self._lock:
            fresh, self._fresh = self._fresh, None
            trouble = self._trouble
        if fresh is None and trouble:
            raise ConfigError(trouble)
        return fresh

    def first(self, patience: float) -> Material:
        """The first identity; waits for it, and says so.

        Args:
            patience: seconds.

        Raises:
            RemoteError: it did not come.
            ConfigError: what came last cannot be used.
        """
        waiting = Waiting(self, patience)
        while (material := waiting.look()) is None:
            sleep(LOOK_AGAIN_S)
        return material

    def close(self) -> None:
        """Stop following."""
        self._closed.set()

    @property
    def why_not(self) -> str:
        """Why there is no identity yet."""
        with self._lock:
            return self._trouble or self._away or "no answer"

    # --- the thread

    def _run(self) -> None:
        pause = RETRY_S
        while not self._closed.is_set():
            before = self._got
            try:
                self._follow()
            except Exception as exc:  # noqa: BLE001 - e.g. gRPC's; this thread must go on
                self._is_away(f"{type(exc).__name__}: {exc}")
            pause = RETRY_S if self._got != before else min(pause * 2, RETRY_MAX_S)
            self._closed.wait(pause)

    _got = 0
    """Updates that came."""

    def _follow(self) -> None:
        """One connection to the API, from its beginning to its end, whatever that is."""
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it writes to stderr past our log
        from spiffe import WorkloadApiClient
        from spiffe.errors import PySpiffeError

        if not os.path.exists(self.path):  # noqa: PTH110 - a socket, by its name
            self._is_away(f"there is no socket {self.path} (yet)")
            return
        ended = threading.Event()

        def failed(error: Exception) -> None:
            self._failed(str(error))
            ended.set()

        try:
            client = WorkloadApiClient(f"unix:{self.path}")
        except PySpiffeError as exc:
            self._is_away(str(exc))
            return
        try:
            stream = client.stream_x509_contexts(self._take, failed, retry_connect=False)
            while not ended.wait(0.2) and not self._closed.is_set():
                pass
            stream.cancel()
        finally:
            with contextlib.suppress(Exception):
                client.close()

    def _take(self, context: "X509Context") -> None:
        self._got += 1
        try:
            material = material_of(context, self._role)
        except ConfigError as exc:
            with self._lock:
                self._trouble, self._fresh = str(exc), None
        else:
            with self._lock:
                self._fresh, self._trouble, self._away = material, "", ""
            if self._told:
                log.info("the SPIFFE Workload API at %s answers again", self.path)
                self._told = ""

    def _failed(self, text: str) -> None:
        if "gRPC error" not in text and "stream ended" not in text:
            with self._lock:
                self._trouble = f"the SPIFFE Workload API sent something malformed: {text}"
            return
        if "PERMISSION_DENIED" in text:
            text = "it has no identity for this process: is there a registration entry for it?"
        self._is_away(text)

    def _is_away(self, why: str) -> None:
        with self._lock:
            self._away = why
        if self._got and why != self._told:
            self._told = why
            log.warning(
                "the SPIFFE Workload API at %s is away (%s): going on with what it sent last, "
                "asking again", self.path, why,
            )  # fmt: skip


class Waiting:
    """Waits for a source's first identity, without deciding how.

    Args:
        source: asked.
        patience: seconds.
    """

    def __init__(self, source: SpiffeSource, patience: float) -> None:
        self._source = source
        self._end = monotonic() + patience
        self._patience = patience
        self._tell = monotonic() + 1.0

    def look(self) -> Material | None:
        """The identity, if it came.

        Raises:
            RemoteError: it will not.
            ConfigError: what came cannot be used.
        """
        now = monotonic()
        try:
            material = self._source.changed()
        except ConfigError:
            if now >= self._end:
                self._source.close()
                raise
            material = None
        if material is not None:
            return material
        if now >= self._end:
            self._source.close()
            raise RemoteError(
                f"no identity from the SPIFFE Workload API at {self._source.path} in "
                f"{self._patience:.0f} s (SWARM_START_PATIENCE): {self._source.why_not}. Is the "
                "agent running, and its socket mounted here?"
            )
        if now >= self._tell:
            self._tell = now + TELL_S
            log.info(
                "waiting for the SPIFFE Workload API at %s: %s",
                self._source.path, self._source.why_not,
            )  # fmt: skip
        return None
