"""What must hold of bookings, judged by what the EHRs hold and the calls that they got."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.booking_clients import Told

MOST_UNKNOWN_SHARE = 0.02
"""Of the bookings whose own call had no fault."""
Held = Mapping[str, Any]
"""An appointment as the simulator shows it."""


@dataclass(slots=True)
class Verdict:
    """The keys with which each law was broken, and how many bookings without a fault ended as unknown."""

    broken: Mapping[str, Sequence[str]]
    without_fault: int
    unknown_without_fault: int
    held: Mapping[str, Sequence[Held]] = field(repr=False)

    @property
    def unknown_share(self) -> float:
        """Of the bookings without a fault at their own call, those that ended as unknown."""
        return self.unknown_without_fault / max(1, self.without_fault)

    @property
    def is_fine(self) -> bool:
        """Whether every law holds."""
        return not any(self.broken.values()) and self.unknown_share <= MOST_UNKNOWN_SHARE


def judge(told: Sequence[Told], held: Sequence[Held], calls: Sequence[Mapping[str, Any]]) -> Verdict:
    """Compare what clients were told with what is booked; `calls` are those that book."""
    by_comment: defaultdict[str, list[Held]] = defaultdict(list)
    for each in held:
        by_comment[each["comment_sha256"]].append(each)
    own = {each.order.key: by_comment.get(each.order.comment_sha256, []) for each in told}
    without_fault = {call["number"] for call in calls if call["fault"] is None}
    spared = [each for each in told if any(one["booked_by_call"] in without_fault for one in own[each.order.key])]
    broken = {
        "booked twice": [key for key, appointments in own.items() if len(appointments) > 1],
        "no definite outcome": [
            each.order.key for each in told if each.answer is None and each.order.lists_appointments
        ],
        "claimed and not there": [
            each.order.key
            for each in told
            if each.appointment is not None
            and each.appointment not in {one["id"] for one in own[each.order.key] if one["status"] != "cancelled"}
        ],
        "denied and there": [
            each.order.key
            for each in told
            if each.answer is not None and each.appointment is None and own[each.order.key]
        ],
        "one time given twice": list(_overlapping(held)),
    }
    return Verdict(broken, len(spared), sum(each.answer is None for each in spared), own)


def _overlapping(held: Sequence[Held]) -> Iterator[str]:
    """The ids of appointments that begin before their resource's earlier one ends."""
    rows: defaultdict[tuple[str, str, str], list[Held]] = defaultdict(list)
    for each in held:
        if each["status"] != "cancelled":
            rows[each["emr"], each["care_unit"], each["resource_id"]].append(each)
    for appointments in rows.values():
        ordered = sorted(appointments, key=lambda each: each["start"])
        yield from (later["id"] for earlier, later in pairwise(ordered) if later["start"] < earlier["end"])


def table(told: Sequence[Told], verdict: Verdict, calls: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A Markdown table of what bookings came to at each EHR, and the laws below it."""
    ends = sorted({each.end for each in told})
    yield "| EHR | bookings | POSTs | of these with a fault | " + " | ".join(ends) + " |"
    yield "| --- |" + " ---: |" * (3 + len(ends))
    for emr in sorted({each.order.emr for each in told}):
        counts = Counter(each.end for each in told if each.order.emr == emr)
        own = [call for call in calls if call["emr"] == emr]
        numbers = [counts.total(), len(own), sum(call["fault"] is not None for call in own)]
        yield f"| {emr} | " + " | ".join(map(str, [*numbers, *(counts[end] for end in ends)])) + " |"
    yield ""
    yield "| Law | broken by |"
    yield "| --- | ---: |"
    yield from (f"| {law} | {len(keys)} |" for law, keys in verdict.broken.items())
    share = f"{verdict.unknown_share:.2%} of {verdict.without_fault}"
    yield f"| unknown without a fault, at most {MOST_UNKNOWN_SHARE:.0%} | {share} |"
