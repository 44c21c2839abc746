"""History for readers, the server's settings, and what somebody should look after."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from services.common.license_api import HistoryReport, ServerSettings, Warned
from services.license.adapters.clock_watch import ClockWatch
from services.license.adapters.history_table import Asked
from services.license.adapters.shelf import Shelf
from services.license.adapters.store import Store
from services.license.core.license_file import License

log = logging.getLogger("swarm.license")

SETTINGS = "settings"
DAY_S = 86_400.0


class Journal:
    """Thread-safe.

    Args:
        store: the database.
        shelf: the licenses.
        watch: of the clock.
        clock: Unix seconds.
        certificate_ends: when this server's certificate ends; asked anew each time.
    """

    def __init__(
        self,
        store: Store,
        shelf: Shelf,
        watch: ClockWatch,
        clock: Callable[[], float],
        certificate_ends: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self.started = int(clock())
        self._store = store
        self._shelf = shelf
        self._watch = watch
        self._clock = clock
        self._certificate_ends = certificate_ends
        self._broken: int | None = None
        self._told = ""
        self._purged = float("-inf")

    def open(self) -> None:
        """Check the history's chain."""
        with self._store.transaction():
            self._broken = self._store.book.first_broken_row()
        if self._broken is not None:
            log.error("the license history was changed from row %d on", self._broken)

    def history(self, asked: Asked) -> list[HistoryReport]:
        """Rows of history."""
        with self._store.transaction():
            return self._store.book.rows(asked)

    def settings(self) -> ServerSettings:
        """The settings as they are."""
        with self._store.transaction():
            return self._settings()

    def change(self, settings: ServerSettings, by: str) -> ServerSettings:
        """Change the settings."""
        text = settings.model_dump_json()
        with self._store.transaction():
            self._store.remember(SETTINGS, text)
            self._store.book.record(self._clock(), "settings-changed", common_name=by, note=text)
        log.info("%s changed the settings: %s", by, text)
        self._purged = float("-inf")
        return settings

    def sweep(self) -> None:
        """Once a day: remove old history, and say what ends soon."""
        now = self._clock()
        if now - self._purged >= DAY_S:
            self._purged = now
            self._purge(now)
        today = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"
        if today != self._told:
            self._told = today
            for notice in self._ends(now):
                log.warning("%s", notice.text)

    def warnings(self) -> list[Warned]:
        """What somebody should look after."""
        found = self._watch.warnings()
        if self._broken is not None:
            found.append(Warned(
                code="history-changed",
                text=f"the history was changed by hand from row {self._broken} on, or the disk "
                "lost some of it: what stands there is not proved any more",
            ))  # fmt: skip
        found.extend(
            Warned(
                code="license-not-used",
                text=f"an installed license is not used: {why}. Install it again when that is "
                f"mended, or DELETE /api/v1/licenses/{serial}",
            )
            for serial, why in list(self._shelf.unusable.items())
        )
        return [*found, *self._ends(self._clock())]

    def _purge(self, now: float) -> None:
        with self._store.transaction():
            days = self._settings().keep_history_days
            # a clock that is ahead by mistake must not cost the history
            old = self._watch.surely() - days * DAY_S
            gone = self._store.book.purge(old, now) if days else 0
        if gone:
            log.info("removed %d rows of history older than %d days", gone, days)

    def _ends(self, now: float) -> list[Warned]:
        """What ends soon, or has ended."""
        days = self.settings().notice_days
        if not days:
            return []
        moment = datetime.fromtimestamp(max(now, self._shelf.now()), UTC)
        soon = moment + timedelta(days=days)
        found = [
            _license_notice(document, moment)
            for document in self._shelf.counted()
            if document.not_after is not None and document.not_after <= soon
        ]
        end = self._certificate_ends()
        if end is not None and end <= datetime.fromtimestamp(now, UTC) + timedelta(days=days):
            text = f"this server's certificate ends on {end:%Y-%m-%d %H:%M} UTC: renew it"
            found.append(Warned(code="certificate-ends", text=text))
        return found

    # --- inside a transaction

    def _settings(self) -> ServerSettings:
        kept = self._store.remembered(SETTINGS)
        return ServerSettings.model_validate_json(kept) if kept else ServerSettings()


def _license_notice(document: License, now: datetime) -> Warned:
    name = f"license {document.serial} ({document.product}, {document.issuer})"
    end = document.not_after
    assert end is not None
    if end <= now:
        text = f"{name} ended on {end:%Y-%m-%d}: install another one, and archive this one"
        return Warned(code="license-expired", text=text)
    text = f"{name} ends on {end:%Y-%m-%d}: ask its issuer for the next one"
    return Warned(code="license-ends", text=text)
