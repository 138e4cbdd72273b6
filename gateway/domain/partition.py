"""Each query's share of an answer that serves it, and what an answer leaves open.

A share is cut from a wider answer by what the slots name. A slot that does not name its resource may belong to
any of them, so such an answer settles nothing about one resource, and that one is asked for by itself.
"""

from collections.abc import Mapping

from gateway.domain.models import Timeslot
from gateway.domain.queries import Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList


def partition(query: TimeslotQuery, step: Step, answer: TimeslotList) -> TimeslotList | None:
    """A query's share of the answer to a step; None where the slots do not tell which are its own."""
    share = answer
    if query.resource is not None:
        if share.of_resource(None).slots:
            return _share_slot_by_slot(query, step, answer)
        share = share.of_resource(query.resource)
    if query.service is not None:
        if share.of_service(None).slots:
            return _share_slot_by_slot(query, step, answer)
        share = share.of_service(query.service)
    return share.within(query.window)


def lacks_owner(query: TimeslotQuery, step: Step, answer: TimeslotList) -> UnitLists:
    """What the slots that may belong to a query do not name: their resource, their service; NONE where all are told."""
    resource = service = False
    for slot in answer.within(query.window).slots:
        by_resource = _matches(slot.resource_id, query.resource, step.resource)
        by_service = _matches(slot.healthcare_service_id, query.service, step.service)
        resource |= by_resource is None and by_service is not False
        service |= by_service is None and by_resource is not False
    return UnitLists.of(resources=resource, services=service)


def unconfirmed_ids(query: TimeslotQuery, answers: Mapping[Step, TimeslotList]) -> UnitLists:
    """Which ids of a query are not known to exist: no step that Leyr answered asked for them, no slot names them.

    Asked for by itself, Leyr refuses an id that does not exist; a wider answer just holds no slot of it.
    """
    return UnitLists.of(
        resources=query.resource not in {None, *(step.resource for step in answers)}
        and not any(len(answer.of_resource(query.resource)) for answer in answers.values()),
        services=query.service not in {None, *(step.service for step in answers)}
        and not any(len(answer.of_service(query.service)) for answer in answers.values()),
    )


def _share_slot_by_slot(query: TimeslotQuery, step: Step, answer: TimeslotList) -> TimeslotList | None:
    """The share where some slots lack an owner, so that each has to be looked at."""
    candidates = answer.within(query.window)
    belongs = {id(slot): _belongs(slot, query, step) for slot in candidates.slots}
    return None if None in belongs.values() else candidates.where(lambda slot: belongs[id(slot)] is True)


def _belongs(slot: Timeslot, query: TimeslotQuery, step: Step) -> bool | None:
    by_resource = _matches(slot.resource_id, query.resource, step.resource)
    by_service = _matches(slot.healthcare_service_id, query.service, step.service)
    if by_resource is False or by_service is False:
        return False
    return None if by_resource is None or by_service is None else True


def _matches(named: str | None, wanted: str | None, asked: str | None) -> bool | None:
    """Whether a slot is of the wanted id; None where it cannot be told.

    A slot that names no id belongs to the one that the step asked the EHR for, if it asked for one.
    """
    if wanted is None or named == wanted:
        return True
    if named is None:
        return True if asked == wanted else None
    return False
