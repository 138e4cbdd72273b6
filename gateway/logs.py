"""The log: one JSON object a line, with a fixed event name and fields."""

import logging
from typing import TextIO, cast

import structlog


def build_log(level: str, to: TextIO) -> structlog.typing.FilteringBoundLogger:
    """A log of its own, so that nothing global is configured."""
    log = structlog.wrap_logger(
        structlog.PrintLogger(to),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    return cast("structlog.typing.FilteringBoundLogger", log)
