"""`extensions.gateway`: which data are overdue, and what it took to answer, for clients that ask for that."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.domain.window import Window
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope

_MOST_READS = 200
_SUBJECT = ("emr", "careUnit", "window", "resource", "healthcareService")


def extensions(scope: FetchScope, now: float, *, explain: bool) -> bytes | None:
    """The JSON of `extensions`, None where there is nothing to say; `now` is the clock's time.

    `overdue` tells of lists that could not be fetched anew, by endpoint and EHR: how many the answer holds, and the age
    of the oldest.
    """
    found = _explanation(scope, now) if explain else {}
    overdue: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for read in scope.reads:
        if read.is_overdue:
            overdue[read.endpoint, read.subject[0]].append(now - read.fetched_at)
    if overdue:
        found["overdue"] = [
            {"endpoint": endpoint, "emr": emr, "lists": len(ages), "ageSeconds": round(max(ages), 3)}
            for (endpoint, emr), ages in overdue.items()
        ]
    return orjson.dumps({"gateway": found}) if found else None


def _explanation(scope: FetchScope, now: float) -> dict[str, Any]:
    """What it took.

    `planned` counts the lists that the answer needed, `merged` what fields asked for beyond that; the four origins
    add up to `planned`. `ageSeconds` is the age of the oldest of the data.
    """
    origins = Counter(read.origin for read in scope.reads)
    ages = [now - read.fetched_at for read in scope.reads]
    return {
        "planned": len(scope.reads),
        "merged": max(scope.asked - len(scope.reads), 0),
        **{origin.value: origins[origin] for origin in CacheStatus},
        "ageSeconds": round(max(ages, default=0.0), 3),
        "reads": [_shown(read, now) for read in scope.reads[:_MOST_READS]],
    }


def _shown(read: FetchRecord, now: float) -> Mapping[str, Any]:
    shown: dict[str, Any] = {"endpoint": read.endpoint, "origin": read.origin.value}
    for name, value in zip(_SUBJECT, read.subject, strict=False):
        if isinstance(value, Window):
            shown["start"], shown["end"] = value.start.isoformat(), value.end.isoformat()
        elif value is not None:
            shown[name] = value
    return {**shown, "ageSeconds": round(now - read.fetched_at, 3)}
