"""Whether requests should still come."""

from dataclasses import dataclass


@dataclass(slots=True)
class Readiness:
    """One server's, which ends once and for good; signal handlers and other threads may end it."""

    is_stopping: bool = False
