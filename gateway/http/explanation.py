"""What it took to answer: `extensions.gateway`, for clients that ask with `x-gateway-explain: 1`."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.domain.window import Window
from gateway.sources.reading import Origin, Read, Reading

_MOST_READS = 200
_SUBJECT = ("emr", "careUnit", "window", "resource", "healthcareService")


def explanation(reading: Reading, now: float) -> bytes:
    """The JSON of `extensions`; `now` is the clock's time.

    `planned` counts the lists that the answer needed, `merged` what fields asked for beyond that; the four origins
    add up to `planned`. `ageSeconds` is the age of the oldest of the data.
    """
    origins = Counter(read.origin for read in reading.reads)
    ages = [now - read.fetched_at for read in reading.reads]
    found: dict[str, Any] = {
        "planned": len(reading.reads),
        "merged": max(reading.asked - len(reading.reads), 0),
        **{origin.value: origins[origin] for origin in Origin},
        "ageSeconds": round(max(ages, default=0.0), 3),
        "reads": [_shown(read, now) for read in reading.reads[:_MOST_READS]],
    }
    return orjson.dumps({"gateway": found})


def _shown(read: Read, now: float) -> Mapping[str, Any]:
    shown: dict[str, Any] = {"endpoint": read.endpoint, "origin": read.origin.value}
    for name, value in zip(_SUBJECT, read.subject, strict=False):
        if isinstance(value, Window):
            shown["start"], shown["end"] = value.start.isoformat(), value.end.isoformat()
        elif value is not None:
            shown[name] = value
    return {**shown, "ageSeconds": round(now - read.fetched_at, 3)}
