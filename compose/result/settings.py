"""What ``begin`` and ``result`` read from their environment; ours, all of it."""

from pathlib import Path

from pydantic import Field

from services.common.ids import DEFAULT_CONTRACT
from services.common.settings import NodeSettings


class ResultSettings(NodeSettings):
    """Settings of ``begin`` and ``result``."""

    result_dir: Path = Path("/results")
    """``results`` of the run folder."""
    result_sns: str = "sn-1:30304,sn-2:30304,sn-3:30304"
    """API of each SN."""
    result_services: str = "license:5814"
    """What else to watch."""
    result_pairs: int = Field(4, ge=1, le=99)
    """How many pairs there are."""
    result_contract: str = DEFAULT_CONTRACT
    min_peers: int = Field(3, ge=1)
    """How many of them must finish."""
    swarm_timeout: float = Field(1800.0, ge=0)
    """Seconds for the whole run; 0: no limit."""

    def sns(self) -> list[str]:
        """API of each SN, ``host:port``."""
        return self.result_sns.split(",")

    def watched(self) -> list[str]:
        """What to watch, ``host:port``."""
        return [*filter(None, self.result_services.split(",")), *self.sns()]
