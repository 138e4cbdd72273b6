"""Each query's share of the answers that serve it, and what an answer leaves open.

A share is cut from a wider answer by what the slots name. A slot that does not name its resource may belong to
any of them, so such an answer settles nothing about one resource, and that one is asked for by itself.
"""

from collections.abc import Mapping

from gateway.domain.models import Timeslot
from gateway.domain.queries import Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList


def partition(query: TimeslotQuery, answers: Mapping[Step, TimeslotList]) -> TimeslotList | None:
    """A query's share of the answers that serve it; None where the slots do not tell which are its own."""
    shares: list[TimeslotList] = []
    for step, answer in answers.items():
        share = _share(query, step, answer)
        if share is None:
            return None
        shares.append(share)
    return shares[0] if len(shares) == 1 else TimeslotList(slot for share in shares for slot in share.slots)


def lacks_owner(query: TimeslotQuery, answers: Mapping[Step, TimeslotList]) -> UnitLists:
    """What slots that may be a query's own do not name; both are False where `partition` gives a share."""
    resource = service = False
    for step, answer in answers.items():
        for slot in answer.within(query.window).slots:
            by_resource = _matches(slot.resource_id, query.resource, step.resource)
            by_service = _matches(slot.healthcare_service_id, query.service, step.service)
            resource |= by_resource is None and by_service is not False
            service |= by_service is None and by_resource is not False
    return UnitLists(resource, service)


def unconfirmed_ids(query: TimeslotQuery, answers: Mapping[Step, TimeslotList]) -> UnitLists:
    """Which ids of a query nothing vouches for: no step that Leyr answered asked for them, no slot names them.

    Asked alone, Leyr refuses an id that does not exist; a wider answer just holds nothing of it.
    """
    return UnitLists(
        resources=query.resource not in {None, *(step.resource for step in answers)}
        and not any(len(answer.of_resource(query.resource)) for answer in answers.values()),
        services=query.service not in {None, *(step.service for step in answers)}
        and not any(len(answer.of_service(query.service)) for answer in answers.values()),
    )


def _share(query: TimeslotQuery, step: Step, answer: TimeslotList) -> TimeslotList | None:
    share = answer
    if query.resource is not None:
        if share.of_resource(None).slots:
            return _share_of_nameless(query, step, answer)
        share = share.of_resource(query.resource)
    if query.service is not None:
        if share.of_service(None).slots:
            return _share_of_nameless(query, step, answer)
        share = share.of_service(query.service)
    return share.within(query.window)


def _share_of_nameless(query: TimeslotQuery, step: Step, answer: TimeslotList) -> TimeslotList | None:
    """The share where slots may leave out whose they are, so that each has to be looked at."""
    candidates = answer.within(query.window)
    verdicts = {id(slot): _belongs(slot, query, step) for slot in candidates.slots}
    return None if None in verdicts.values() else candidates.where(lambda slot: verdicts[id(slot)] is True)


def _belongs(slot: Timeslot, query: TimeslotQuery, step: Step) -> bool | None:
    by_resource = _matches(slot.resource_id, query.resource, step.resource)
    by_service = _matches(slot.healthcare_service_id, query.service, step.service)
    if by_resource is False or by_service is False:
        return False
    return None if by_resource is None or by_service is None else True


def _matches(named: str | None, wanted: str | None, asked: str | None) -> bool | None:
    """Whether a slot is of the wanted id. One that names none is what the EHR was asked for, if it was asked."""
    if wanted is None or named == wanted:
        return True
    if named is None:
        return True if asked == wanted else None
    return False
