"""When to sync: HPE's countdown over batches.

With a constant interval N the first sync after the one at train begin comes after N+1 batches and
each later one after N, because the batch that syncs is itself counted afterwards (``compat/01``
section 11.3; kept to the letter, because all peers must count alike).
"""


class Cadence:
    """Counts batches down to the next sync.

    Args:
        interval: batches between syncs (``syncFrequency``), 1 or more.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        """Batches between syncs; with adaptive sync the SL changes it."""
        self.remaining = 0
        """Batches until the next sync; negative once training is over."""
        self.over = False
        """The swarm's training is over: nothing is due any more."""

    @property
    def due(self) -> bool:
        """A sync is due at this batch end. Ask before :meth:`count`."""
        return self.remaining == 0 and not self.over

    def synced(self, next_interval: int, over: bool) -> None:
        """A sync was done.

        Args:
            next_interval: what the SL answered; values below 1 would end all syncing, so count
                as 1.
            over: the swarm's training is over.
        """
        self.interval = self.remaining = max(1, next_interval)
        self.over = over

    def count(self) -> None:
        """A batch ended, and its sync, if one was due, is done."""
        self.remaining -= 1
