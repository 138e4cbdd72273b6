"""Reads of one care unit in order: what a call that began later says stands in place of what an earlier one said.

A read says which slots are free inside its window and under its filters, so it also says what is gone there. Where two
reads overlap and the slots name their owners, the newer part can be written into the older read. Where the filters
differ and a slot does not name that owner, it cannot be told whether the other read speaks of it.
"""

from math import inf

from gateway.domain.models import Timeslot
from gateway.domain.pieces import Pieces, whole
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList, joined_in_pieces
from gateway.domain.window import Window


def own_slots(step: Step, answer: TimeslotList) -> TimeslotList:
    """What the answer to a step may hold: EHRs give slots beyond the window, or of others than the filters name.

    A slot that names no owner belongs to the one that the step asked for.
    """
    own = answer.within(step.window)
    resource, service = step.filters

    def is_own(slot: Timeslot) -> bool:
        return (resource is None or slot.resource_id in {None, resource}) and (
            service is None or slot.healthcare_service_id in {None, service}
        )

    if step.filter_count and not all(map(is_own, own.slots)):
        own = own.where(is_own)
    if own is not answer:
        own = own.copy()
        own.describe_as(answer)
    return own


def filters_meet(one: Step, other: Step) -> bool:
    """Whether a slot may match the filters of both steps."""
    return (one.resource is None or other.resource in {None, one.resource}) and (
        one.service is None or other.service in {None, one.service}
    )


def corrected(
    older: TimeslotList,
    step: Step,
    newer: TimeslotList,
    by: Step,
    *,
    leaves_unnamed: bool = False,
    longest: float = inf,
) -> TimeslotList | None:
    """The older answer to `step` with what the newer answer to `by` says in its place; the same object if it is equal.

    None where slots do not name the owners by which the filters differ, unless those are left as they are; and where a
    list of more than `longest` slots would have to be made anew.
    """
    return whole(corrected_in_pieces(older, step, newer, by, leaves_unnamed=leaves_unnamed, longest=longest))


def corrected_in_pieces(  # two answers with their steps, and how far to go
    older: TimeslotList,
    step: Step,
    newer: TimeslotList,
    by: Step,
    *,
    leaves_unnamed: bool = False,
    longest: float = inf,
) -> Pieces[TimeslotList | None]:
    """The same for long lists."""
    window = step.window.intersection(by.window)
    if window is None or not filters_meet(step, by):
        return older
    if not leaves_unnamed and not _tell(older, step, newer, by, window):
        return None
    replaced, written = _matching(older, step, by).within(window), _matching(newer, by, step).within(window)
    yield
    if replaced.slots == written.slots:
        return older
    if len(older) + len(written) > longest:
        return None
    yield
    gone = {id(slot) for slot in replaced.slots}
    inside = older.within(window)
    kept = inside.where(lambda slot: id(slot) not in gone) if gone else inside
    yield
    found = yield from joined_in_pieces([kept, written])
    return older.replaced(window, found)


def differs(
    older: TimeslotList, step: Step, newer: TimeslotList, by: Step, *, leaves_unnamed: bool = False
) -> bool | None:
    """Whether the newer answer to `by` says something else than the older one to `step`, where both say anything.

    None where slots do not name the owners by which the filters differ, unless those are left out of account.
    """
    window = step.window.intersection(by.window)
    if window is None or not filters_meet(step, by):
        return False
    if not leaves_unnamed and not _tell(older, step, newer, by, window):
        return None
    return _matching(older, step, by).within(window).slots != _matching(newer, by, step).within(window).slots


def _tell(older: TimeslotList, step: Step, newer: TimeslotList, by: Step, window: Window) -> bool:
    """Whether all slots of two answers name the owners by which the filters of their steps differ."""
    if step.resource != by.resource and (_lack_resource(older, window) or _lack_resource(newer, window)):
        return False
    return step.service == by.service or not (_lack_service(older, window) or _lack_service(newer, window))


def _matching(answer: TimeslotList, step: Step, other: Step) -> TimeslotList:
    """The slots of an answer that are known to match the filters of another step too."""
    if step.resource != other.resource:
        answer = answer.of_resource(step.resource or other.resource)
    if step.service != other.service:
        answer = answer.of_service(step.service or other.service)
    return answer


def _lack_resource(answer: TimeslotList, window: Window) -> bool:
    unnamed = answer.of_resource(None)
    return bool(unnamed.slots) and bool(unnamed.within(window).slots)


def _lack_service(answer: TimeslotList, window: Window) -> bool:
    unnamed = answer.of_service(None)
    return bool(unnamed.slots) and bool(unnamed.within(window).slots)
