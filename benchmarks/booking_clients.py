"""Clients that book: each repeats its request with the same key, or asks for its outcome, until it knows."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain
from random import Random
from typing import Any

from benchmarks.soak import Client, http_request

_ANSWER = """{
  __typename
  ... on BookingSuccess { appointment { id leyrId } replayed }
  ... on BookingFailure { reason retryable retryAfterSeconds replayed }
  ... on BookingOutcomeUnknown { askAgainAfter }
}"""
BOOK = f"mutation($input: BookAppointmentInput!) {{ answer: bookAppointment(input: $input) {_ANSWER} }}"
OUTCOME = f"query($key: String!) {{ answer: bookingOutcome(idempotencyKey: $key) {_ANSWER} }}"
ASKS_FOR_OUTCOME, LEAVES_EARLY = 0.4, 0.05
LEAVES_AFTER_SECONDS = 0.02
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LONGEST_ASKING_SECONDS = 0.2, 20.0, 180.0
_LONGEST_ANSWER_SECONDS = 60.0
MOST_UNKNOWN = 3
"""After how many unknown outcomes a client gives up where the EHR lists no appointments."""
AGAIN = frozenset({"NOT_SENT", "IN_PROGRESS"})
"""The reasons that settle nothing: the same request is to be sent again."""


@dataclass(frozen=True, slots=True)
class Order:
    """What one client wants, with a key and a comment of its own by which its appointments are known."""

    key: str
    emr: str
    lists_appointments: bool
    timeslot_ids: Sequence[str]
    patient: Mapping[str, Any]

    @property
    def comment_sha256(self) -> str:
        """How the simulator shows the comment."""
        return sha256(self.key.encode()).hexdigest()

    @property
    def variables(self) -> Mapping[str, Any]:
        """Those of the mutation."""
        return {
            "input": {
                "idempotencyKey": self.key,
                "timeslotIds": list(self.timeslot_ids),
                "patient": self.patient,
                "comment": self.key,
            }
        }


@dataclass(slots=True)
class Told:
    """What a client was told: the definite answer at last, or None; and how often which answer was given."""

    order: Order
    answer: Mapping[str, Any] | None = None
    answers: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def appointment(self) -> str | None:
        """Leyr's id of the appointment that the client has been told it has."""
        return self.answer["appointment"]["leyrId"] if self.answer and "appointment" in self.answer else None

    @property
    def end(self) -> str:
        """What it came to, in one word."""
        if self.answer is None:
            return "unknown"
        return str(self.answer.get("reason") or self.answer["__typename"])


class Clients:
    """All clients; so many requests are under way at a time, and a client that waits takes no place."""

    def __init__(self, urls: Sequence[str], headers: Mapping[str, str], chance: Random, at_a_time: int) -> None:
        self._headers = [f"{name}: {value}" for name, value in headers.items()]
        self._urls, self._chance = urls, chance
        self._places = asyncio.Semaphore(at_a_time)
        self._idle: defaultdict[str, list[Client]] = defaultdict(list)

    def close(self) -> None:
        """Close the connections."""
        for each in chain.from_iterable(self._idle.values()):
            each.leave()

    async def book(self, order: Order) -> Told:
        """Book, and ask again until it is known what came of it, or nobody will ever know."""
        told, began = Told(order), asyncio.get_running_loop().time()
        while True:
            answer = await self._ask(told)
            is_known = answer is not None and answer["__typename"] != "BookingOutcomeUnknown"
            told.seconds = asyncio.get_running_loop().time() - began
            if is_known and answer is not None and answer.get("reason") not in AGAIN:
                told.answer = answer
                return told
            is_open = not order.lists_appointments and told.answers["OUTCOME_UNKNOWN"] >= MOST_UNKNOWN
            if is_open or told.seconds > LONGEST_ASKING_SECONDS:
                return told
            await asyncio.sleep(self._pause(answer) if order.lists_appointments else PAUSE_SECONDS)

    def _pause(self, answer: Mapping[str, Any] | None) -> float:
        """How long a client waits before it asks again; some do not wait as long as they are told."""
        wait = PAUSE_SECONDS
        if answer is not None and "askAgainAfter" in answer:
            wait = (datetime.fromisoformat(answer["askAgainAfter"]) - datetime.now(UTC)).total_seconds()
        elif answer is not None and answer.get("retryAfterSeconds"):
            wait = answer["retryAfterSeconds"]
        return min(max(PAUSE_SECONDS, wait), LONGEST_PAUSE_SECONDS) * (0.5 + 0.6 * self._chance.random())

    async def _ask(self, told: Told) -> Mapping[str, Any] | None:
        """One request; None where there is no answer, or it says nothing of the booking."""
        order, asks = told.order, bool(told.answers) and self._chance.random() < ASKS_FOR_OUTCOME
        document, variables = (OUTCOME, {"key": order.key}) if asks else (BOOK, order.variables)
        seconds = LEAVES_AFTER_SECONDS if self._chance.random() < LEAVES_EARLY else _LONGEST_ANSWER_SECONDS
        try:
            async with self._places:
                found = await self._sent(self._chance.choice(self._urls), document, variables, seconds)
        except (OSError, EOFError):
            told.answers["no answer"] += 1
            return None
        answer: Mapping[str, Any] | None = (found.get("data") or {}).get("answer")
        if answer is None:
            codes = [error["extensions"]["code"] for error in found.get("errors", ())]
            told.answers[codes[0] if codes else "nothing known"] += 1
            return None
        told.answers[answer.get("reason") or answer["__typename"]] += 1
        return answer

    async def _sent(self, url: str, document: str, variables: Mapping[str, Any], seconds: float) -> Mapping[str, Any]:
        """What a gateway answers. Raises OSError, TimeoutError among them, and EOFError."""
        idle = self._idle[url]
        client = idle.pop() if idle else Client(url)
        try:
            async with asyncio.timeout(seconds):
                _, body = await client.ask(http_request(url, document, variables, *self._headers))
        except BaseException:
            client.leave()
            raise
        idle.append(client)
        answer: Mapping[str, Any] = json.loads(body)
        return answer
