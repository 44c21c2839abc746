"""What to make of a clock that somebody set.

Leases are durations on a steady clock, so nothing happens to them. A license's dates are judged by
the highest time that the server ever saw: setting the clock back prolongs nothing.
"""

from datetime import UTC, datetime

from services.common.license_api import Warned

TOLERANCE_S = 300.0
"""Differences up to this are the clock's correction (NTP), not somebody's doing."""
REPAIR = "python -m services.license.clock forget-highest"


def is_set_back(now: float, highest: float) -> bool:
    """Whether the clock is clearly before a time that it showed already."""
    return highest - now > TOLERANCE_S


def is_jump(wall: float, steady: float) -> bool:
    """Whether the machine's clock was set since the process began."""
    return abs(wall - steady) > TOLERANCE_S


def set_back_warning(now: float, highest: float) -> Warned:
    """What to tell about a clock that is behind the highest time."""
    return Warned(
        code="clock-set-back",
        text=f"the clock is {_span(highest - now)} behind {_moment(highest)}, which this server "
        "saw before; licenses count as at that time. Set the clock right. If it was wrong then and "
        f"is right now: {REPAIR}",
    )


def jump_warning(wall: float, steady: float) -> Warned:
    """What to tell about a clock that was set while the server runs."""
    ahead = "ahead" if wall > steady else "back"
    return Warned(
        code="clock-changed",
        text=f"this machine's clock was set {_span(abs(wall - steady))} {ahead} while the server "
        "runs; leases are not affected, and times are counted on from the start. Set the clock "
        "right, or restart the server where it is right now",
    )


def _moment(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"


def _span(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} days"
