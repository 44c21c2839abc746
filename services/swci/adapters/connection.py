"""How SWCI reaches SNs."""

from typing import Protocol

from services.common.sn_client import SnClient


class Connect(Protocol):
    """Makes clients of SNs, and finds out why one cannot be reached."""

    def __call__(self, sns: list[str]) -> SnClient:
        """A client of the SNs at these ``host:port``."""

    async def probe(self, host: str, port: int) -> str:
        """Empty where an API server answers there; else why not, in words."""
