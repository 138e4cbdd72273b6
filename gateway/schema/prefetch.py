"""Looking ahead in the document, so that all a care unit is asked for starts in one turn.

Left alone, `resources { timeslots }` asks for timeslots only when the resources have come: a round trip more,
and a call a resource. Whatever stands below a care unit concerns that unit alone, so the first resolver that
holds it reads on, and asks the loaders for everything at once: the lists, and for timeslots of each resource
those of all resources. The resolvers further down then find their answers under way, and report themselves what
is wrong with their arguments.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from gateway.domain.errors import GatewayError
from gateway.domain.models import CareUnitKey
from gateway.schema.care_unit import CareUnit
from gateway.schema.context import Context, Info
from gateway.schema.healthcare_service import HealthcareService
from gateway.schema.lookahead import DocumentScope, Lookahead, TimeslotsArguments, lookahead_below
from gateway.schema.resource import Resource

Prefetched: TypeAlias = CareUnit | Resource | HealthcareService


def prefetch(info: Info, found: Sequence[Prefetched]) -> None:
    """Start everything that the document asks below the current field: for care units, or for one other node."""
    if not found:
        return
    lookahead = lookahead_below(info, type(found[0]).__name__)
    if not lookahead.is_deep:
        # The resolvers of the node's own fields run in this very turn.
        return
    asked = DocumentScope.of(info).asked(lookahead) if lookahead.timeslots else ()
    for node in found:
        _start_lists(info.context, node.key, lookahead)
        _start_timeslots(info.context, node, asked)


def _start_lists(context: Context, care_unit: CareUnitKey, lookahead: Lookahead) -> None:
    loaders = context.loaders
    try:
        if lookahead.resources:
            loaders.start_resources(care_unit)
        if lookahead.services:
            loaders.start_healthcare_services(care_unit)
        if lookahead.care_unit:
            loaders.start_care_units(care_unit.emr)
    except GatewayError:
        # The resolver that wants the list meets it too.
        return


def _start_timeslots(context: Context, node: Prefetched, asked: Iterable[TimeslotsArguments]) -> None:
    resource = node.leyr_id if isinstance(node, Resource) else None
    service = node.leyr_id if isinstance(node, HealthcareService) else None
    for wanted, of in asked:
        own = (resource, service) if of is None else (None, None)
        try:
            query, unconfirmed = context.timeslot_query(node.key, wanted, *own)
            if unconfirmed is None:
                context.loaders.start_timeslots(query)
            else:
                context.loaders.start_confirmed(query, unconfirmed)
        except GatewayError:
            # Likewise.
            continue
