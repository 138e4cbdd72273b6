"""Races: very many clients want one timeslot at the same moment, and as many get it as there is room for."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import uuid4

import httpx
import uvloop

from benchmarks.booking_clients import BOOK
from benchmarks.soak import tell

RACERS = 200
_LONGEST_ANSWER_SECONDS = 120.0
_ROOMS: Mapping[str, int] = {"webdoc": 1, "cliniko": 1, "pridok": 3}
"""EHRs by how many each of their times takes here; cliniko accepts every booking, however many there are."""
_SUCCESS = "AppointmentBooked"
_APART = 37
"""How many timeslots there are from one race to where the next one begins to look."""


class FreeTimes(Protocol):
    """The ids of timeslots, by EHR and care unit."""

    @property
    def slots(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """Those that were free at the start."""


async def race(urls: Sequence[str], headers: Mapping[str, str], timeslot_id: str, racers: int = RACERS) -> Counter[str]:
    """What so many clients are told who all want one timeslot, and ask again until they know."""
    limits = httpx.Limits(max_connections=racers, max_keepalive_connections=racers)
    async with httpx.AsyncClient(
        headers=headers, limits=limits, timeout=_LONGEST_ANSWER_SECONDS, trust_env=False
    ) as http:

        async def racer(number: int) -> str:
            details = {"firstName": "Lopp", "lastName": f"Loppsson {number}", "phones": [f"+47920{number:05d}"]}
            key = str(uuid4())
            given = {"idempotencyKey": key, "timeslotIds": [timeslot_id], "patient": {"details": details}}
            while True:
                response = await http.post(
                    f"{urls[number % len(urls)]}/graphql", json={"query": BOOK, "variables": {"input": given}}
                )
                told = response.json()
                answer = (told.get("data") or {}).get("answer")
                if answer is None:
                    error = told["errors"][0]["extensions"]
                    if not error["retryable"]:
                        return str(error["code"])
                elif answer.get("reason") not in {"NOT_SENT", "IN_PROGRESS"}:
                    return str(answer["__typename"])
                await asyncio.sleep(1)

        return Counter(await asyncio.gather(*(racer(number) for number in range(racers))))


def race_all(leyr: httpx.Client, urls: Sequence[str], headers: Mapping[str, str], town: FreeTimes, races: int) -> bool:
    """Race for so many timeslots of each EHR in turn, and say whether each was won as often as it has room."""
    won = 0
    leyr.patch("/__manners/pridok", json={"capacity": _ROOMS["pridok"]}).raise_for_status()
    for number in range(races):
        emr = list(_ROOMS)[number % len(_ROOMS)]
        found = [each for (code, _), slots in town.slots.items() if code == emr for each in slots]
        timeslot_id = _free(leyr, urls[0], headers, found[number * _APART % len(found) :], emr)
        before = _made(leyr, emr)
        told = uvloop.run(race(urls, headers, timeslot_id))
        made, expected = _made(leyr, emr) - before, _ROOMS[emr]
        is_won = told == {_SUCCESS: expected, "TimeslotTaken": RACERS - expected} and made == expected
        won += is_won
        if not is_won:
            tell(f"broken: a race at {emr}: {dict(told)}, {made} POSTs that succeeded")
    tell(f"{won} of {races} races of {RACERS} clients were won as often as there was room")
    return won == races


def _made(leyr: httpx.Client, emr: str) -> int:
    """How many calls booked something."""
    calls = leyr.get("/__calls", params={"emr": emr, "endpoint": "book_appointment"}).json()["calls"]
    return sum(call["outcome"] == "booked" for call in calls)


def _free(leyr: httpx.Client, url: str, headers: Mapping[str, str], wanted: Iterable[str], emr: str) -> str:
    """The first timeslot that nobody has booked at all: one with room for several may be free all the same."""
    query = "query($id: ID!) { timeslot(id: $id) { start end resource { leyrId } } }"
    taken = [
        (each["resource_id"], datetime.fromisoformat(each["start"]), datetime.fromisoformat(each["end"]))
        for each in leyr.get("/__appointments", params={"emr": emr}).json()["appointments"]
        if each["status"] != "cancelled"
    ]
    with httpx.Client(headers=headers, trust_env=False) as http:
        for timeslot_id in wanted:
            body = {"query": query, "variables": {"id": timeslot_id}}
            slot = http.post(f"{url}/graphql", json=body).json()["data"]["timeslot"]
            if slot is None:
                continue
            start, end = datetime.fromisoformat(slot["start"]), datetime.fromisoformat(slot["end"])
            if not any(
                who == slot["resource"]["leyrId"] and begin < end and start < over for who, begin, over in taken
            ):
                return timeslot_id
    raise LookupError(f"nothing is free at {emr}")
