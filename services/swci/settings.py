"""What SWCI reads from its environment. Names and defaults are HPE's unless marked as ours."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from services.common.settings import NodeSettings

DEFAULT_WAIT_MINUTES = 120.0

Minutes = Annotated[float, Field(gt=0, le=525_600, allow_inf_nan=False)]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class SwciSettings(NodeSettings):
    """Settings of SWCI (HPE User Guide, "Environment variables"); contexts name the SNs."""

    swci_mode: Annotated[Literal["CLI", "WEB"], BeforeValidator(_upper)] = "CLI"
    """``WEB`` serves REST instead of a prompt, after the init script."""
    swci_startup_script: str = "swci-init"
    """Script in the user folder that is run first, where it exists."""
    swci_web_port: int = Field(30306, ge=0, le=65535)
    """Port of the web mode; 0 (ours): any free one."""
    swci_web_insecure: bool = False
    """Ours: the web mode speaks plain HTTP and asks for no certificate. For isolated networks."""

    swci_run_task_max_wait_time: Minutes | None = None
    """Longest WAIT FOR TASKRUNNER for a RUN_SWARM task, in minutes; default 120."""
    swci_generic_task_max_wait_time: Minutes | None = None
    """The same for all other tasks."""
    swci_task_max_wait_time: Minutes | None = None
    """Older single variable, used where the one above is not set."""

    swci_usr_dir: Path = Field(
        Path("/platform/swarm/usr"), validation_alias=AliasChoices("swci_usr_dir", "usr_dir")
    )
    """The user folder: SWCI_USR_DIR (ours), else USR_DIR."""
    swci_history_file: Path | None = None
    """Ours: where the prompt keeps its history; ``~/.swci_history`` where it is not set."""
    swci_wait_retry_seconds: float = Field(5.0, gt=0, le=60)
    """Ours: pause between two tries of WAIT FOR IP and WAIT FOR SERVICE (HPE: 5 s)."""
    swci_log_level: str = ""
    """Ours: DEBUG, INFO, WARNING or ERROR; where it is not set WARNING, in the web mode INFO."""

    def run_minutes(self) -> float:
        """Longest wait for a RUN_SWARM task, in minutes."""
        asked = self.swci_run_task_max_wait_time or self.swci_task_max_wait_time
        return asked or DEFAULT_WAIT_MINUTES

    def generic_minutes(self) -> float:
        """Longest wait for another task, in minutes."""
        asked = self.swci_generic_task_max_wait_time or self.swci_task_max_wait_time
        return asked or DEFAULT_WAIT_MINUTES
