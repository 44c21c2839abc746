"""The installed licenses: joins the rules, the database, the keys and the clock."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from services.common.errors import ConfigError, NotFoundError, ProtocolError
from services.license.adapters.clock_watch import ClockWatch
from services.license.adapters.keyring import Keyring
from services.license.adapters.store import Store
from services.license.core import leases as rules
from services.license.core.leases import Offer
from services.license.core.license_file import License, community, documents_in, sign

log = logging.getLogger("swarm.license")


@dataclass(frozen=True, slots=True)
class Kept:
    """A license as it stands on the shelf."""

    license: License
    installed_at: int = 0
    """Unix seconds; 0 where it is not installed."""
    installed_by: str = ""
    archived: bool = False


class Shelf:
    """All operations on licenses; each is one transaction. Thread-safe.

    Args:
        store: the database.
        keyring: the keys.
        clock: Unix seconds.
        watch: knows by which time licenses are judged.
    """

    def __init__(
        self, store: Store, keyring: Keyring, clock: Callable[[], float], watch: ClockWatch
    ) -> None:
        self.server_id = keyring.server_id
        self.unusable: dict[str, str] = {}
        """Why documents in the database are not used, by serial."""
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._watch = watch
        self._kept: dict[str, Kept] = {}

    def open(self) -> None:
        """Check what is installed; give a new server its community license."""
        with self._store.transaction():
            documents = self._store.documents()
            fresh = self._store.book.is_empty()
        for stored in documents:
            try:
                document = self._keyring.verify(stored.text)
            except ConfigError as exc:
                log.error("an installed license is not used: %s", exc)  # noqa: TRY400 - expected kind of error
                self.unusable[stored.serial] = str(exc)
            else:
                self._kept[document.serial] = Kept(
                    document, stored.installed_at, stored.installed_by, stored.archived
                )
        if fresh:
            own = community(self._keyring.key.public_key(), self._clock())
            self.install(sign(own, self._keyring.key), "")

    def check(self, text: str) -> list[Kept]:
        """What a file would install.

        Raises:
            ConfigError: it is not good; code ``serial-taken`` where another license has its serial.
        """
        return [kept for kept, _ in self._checked(text, "")]

    def install(self, text: str, by: str) -> list[Kept]:
        """Install a file's documents, all or none; harmless for those that are installed.

        Raises:
            ConfigError: as of :meth:`check`.
        """
        try:
            with self._changing():
                checked = self._checked(text, by)
                new = {kept.license.serial: kept for kept, raw in checked if raw}
                now = self._clock()
                for kept, raw in checked:
                    if raw:
                        serial = kept.license.serial
                        self._store.put_document(serial, raw, now, by)
                        self._note(now, "installed", serial, by)
                new = {key: replace(kept, installed_at=int(now)) for key, kept in new.items()}
                self._kept = {**self._kept, **new}
            self.unusable = {key: why for key, why in self.unusable.items() if key not in new}
        except ConfigError as exc:
            log.warning("license from %s refused: %s", by, exc)
            raise
        for kept in new.values():
            document = kept.license
            log.info(
                "installed license %s (%s, %s)", document.serial, document.product, document.issuer
            )
        return [new.get(kept.license.serial, kept) for kept, _ in checked]

    def archive(self, serial: str, by: str) -> Kept:
        """Put a license away: it counts no more, and can be restored.

        Raises:
            NotFoundError: it is not installed.
            ProtocolError: ``license-in-use``.
        """
        return self._set_archived(serial, by, archived=True)

    def restore(self, serial: str, by: str) -> Kept:
        """Let an archived license count again.

        Raises:
            NotFoundError: it is not installed.
        """
        return self._set_archived(serial, by, archived=False)

    def remove(self, serial: str, by: str) -> None:
        """Delete a license, also one that cannot be used.

        Raises:
            NotFoundError: it is not installed.
            ProtocolError: ``license-in-use``.
        """
        with self._changing():
            if serial not in self.unusable:
                self._require_free(self._one(serial))
            self._store.delete_document(serial)
            self._note(self._clock(), "removed", serial, by)
            self._kept = {key: kept for key, kept in self._kept.items() if key != serial}
        self.unusable.pop(serial, None)
        log.info("%s removed license %s", by, serial)

    def licenses(self) -> list[Kept]:
        """The licenses, by serial."""
        return [kept for _, kept in sorted(self._kept.items())]

    def counted(self) -> list[License]:
        """The licenses that are not archived."""
        return [kept.license for kept in self._kept.values() if not kept.archived]

    def now(self) -> float:
        """The time by which licenses are judged."""
        with self._store.transaction():
            return self._watch.valid_at(self._clock())

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction; where it fails, what we have in memory is as before, too."""
        before, done = self._kept, False
        try:
            with self._store.transaction():
                before = self._kept
                yield
            done = True
        finally:
            if not done:
                self._kept = before

    # --- inside a transaction

    def offers(self, now: float) -> dict[str, Offer]:
        """What is offered, by feature."""
        return rules.offers(self.counted(), self._watch.valid_at(now))

    def _set_archived(self, serial: str, by: str, *, archived: bool) -> Kept:
        with self._changing():
            before = self._one(serial)
            if before.archived is archived:
                return before
            if archived:
                self._require_free(before)
            self._store.archive_document(serial, archived=archived)
            self._note(self._clock(), "archived" if archived else "restored", serial, by)
            after = replace(before, archived=archived)
            self._kept = {**self._kept, serial: after}
        log.info("%s %s license %s", by, "archived" if archived else "restored", serial)
        return after

    def _require_free(self, kept: Kept) -> None:
        if kept.archived:
            return
        now = self._watch.valid_at(self._clock())
        counted = {document.serial: document for document in self.counted()}
        serial = kept.license.serial
        short = rules.still_needed(serial, counted, self._store.leases(), now)
        if short:
            units = ", ".join(f"{count} of {feature}:1" for feature, count in short.items())
            raise ProtocolError(
                f"license {serial} is in use: nothing else allows {units}. Stop those nodes, or "
                "revoke their leases, first",
                "license-in-use",
            )

    def _one(self, serial: str) -> Kept:
        kept = self._kept.get(serial)
        if kept is None:
            raise NotFoundError(f"no license with serial {serial} is installed")
        return kept

    def _note(self, now: float, kind: str, serial: str, by: str) -> None:
        self._store.book.record(now, kind, serial, common_name=by)

    # --- documents

    def _checked(self, text: str, by: str) -> list[tuple[Kept, str]]:
        """Licenses of a file, each with its text, or with none where it is installed already."""
        found: dict[str, tuple[Kept, str]] = {}
        for raw in documents_in(text):
            document = self._keyring.verify(raw)
            present = self._kept.get(document.serial)
            twice = found.get(document.serial)
            others = [kept for kept in (present, twice[0] if twice else None) if kept is not None]
            if any(kept.license != document for kept in others):
                raise ConfigError(
                    f"another license with serial {document.serial} is installed", "serial-taken"
                )
            found[document.serial] = (
                (present, "") if present is not None else (Kept(document, installed_by=by), raw)
            )
        return list(found.values())
