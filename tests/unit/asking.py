"""A clinic's timeslots as requests ask for them, with a clock that stands still until a test moves it."""

from collections.abc import Sequence

from gateway.domain.errors import GatewayError
from gateway.domain.planning import TimeslotQuery
from gateway.domain.timeslots import TimeslotList
from gateway.sources.backend import SchedulingBackend
from gateway.sources.memory import Lifetimes, Memory
from gateway.sources.profiles import Profiles
from gateway.sources.reading import Reading
from gateway.sources.snapshots import Snapshots
from gateway.sources.steps import StepSource
from gateway.sources.timeslots import TimeslotReader
from tests.unit.model_ehr import UNIT, ModelRosters

NOTHING_KEPT = Lifetimes(0, 0)
Answer = TimeslotList | GatewayError


class Request:
    """One request about the model's care unit."""

    def __init__(self, source: StepSource, rosters: ModelRosters, reading: Reading) -> None:
        self.reading = reading
        self._reader = TimeslotReader(UNIT, source, rosters, reading)

    async def answer(self, queries: Sequence[TimeslotQuery]) -> list[Answer]:
        """Answers in the order of the queries, as loaders get them: from memory at once, or later."""
        answers: dict[TimeslotQuery, Answer] = {}
        for query in dict.fromkeys(queries):
            remembered = self._reader.remembered(query)
            if remembered is not None:
                answers[query] = remembered
        await self._reader.answer([each for each in queries if each not in answers], answers.__setitem__)
        return [answers[query] for query in queries]

    def close(self) -> None:
        self.reading.close()


class Gateway:
    """What requests have in common."""

    def __init__(
        self,
        backend: SchedulingBackend,
        profiles: Profiles,
        lifetimes: Lifetimes = NOTHING_KEPT,
        *,
        most_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.now = 1_000.0
        self.memory = Memory(most_bytes)
        self.snapshots = Snapshots(lifetimes, self.memory, lambda: self.now)
        self.source = StepSource(backend, profiles, self.snapshots, lambda: self.now)

    def request(self, rosters: ModelRosters, *, truth_now: bool = False) -> Request:
        reading = Reading(self.now, self.now) if truth_now else Reading(self.now)
        return Request(self.source, rosters, reading)
