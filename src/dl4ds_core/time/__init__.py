"""Time axes in any calendar: order, gaps, periods, text; bringing several of them together."""

from dl4ds_core.time.axis import (
    GAP_FACTOR,
    calendar_of,
    duration,
    gaps,
    require_ascending,
    runs,
    seconds,
    shift,
    spread_steps,
    step_of,
    text,
    windows,
    within,
)
from dl4ds_core.time.cycles import CALENDAR, calendar_channels, calendar_values
from dl4ds_core.time.daily import COMBINED, DAY, complete_days, midnights, stated_method, to_daily, to_midnight
from dl4ds_core.time.matching import match, require_no_holes
from dl4ds_core.time.tidying import take_steps, tidy

__all__ = [
    "CALENDAR",
    "COMBINED",
    "DAY",
    "GAP_FACTOR",
    "calendar_channels",
    "calendar_of",
    "calendar_values",
    "complete_days",
    "duration",
    "gaps",
    "match",
    "midnights",
    "require_ascending",
    "require_no_holes",
    "runs",
    "seconds",
    "shift",
    "spread_steps",
    "stated_method",
    "step_of",
    "take_steps",
    "text",
    "tidy",
    "to_daily",
    "to_midnight",
    "windows",
    "within",
]
