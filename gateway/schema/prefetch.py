"""Starts what a document asks below a field before its resolvers ask for it."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from graphql import FieldNode

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import GatewayError
from gateway.domain.ids import NodeId, NodeType
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Filters, TimeslotQuery, UnitLists, holds_each_answer
from gateway.schema.context import Info
from gateway.schema.loaders import Reads
from gateway.schema.lookahead import (
    DocumentScope,
    Lookahead,
    UnitRequest,
    lookahead_below,
    lookahead_of_units,
    root_fields_of,
)
from gateway.schema.node import UnitNode

_UNITS = "units"
_NO_FILTERS: Filters = (None, None)


def prefetch(info: Info, found: Sequence[UnitNode]) -> None:
    """Start everything that the document asks below the current field: for care units, or for one other node."""
    if not found:
        return
    lookahead = lookahead_below(info, type(found[0]).__name__)
    # The resolvers of the node's own fields run in this very turn.
    if lookahead.is_deep:
        _prefetch(info, lookahead, [(node.key, node.own_filters) for node in found])


def prefetch_of_units(info: Info, keys: Sequence[CareUnitKey]) -> None:
    """The same for a field that reads free times of care units."""
    (node, *_), definition = info.raw.field_nodes, info.raw.parent_type.fields[info.raw.field_name]
    lookahead: Lookahead | None = info.memo.get(_UNITS)
    if lookahead is None:
        lookahead = info.memo[_UNITS] = lookahead_of_units(DocumentScope.of(info), node, definition)
    # An odd id leaves in a URL only when its EHR's list has confirmed it.
    is_odd = info.context.queries.may_hide_a_personal_number
    found = [(key, _NO_FILTERS) for key in keys if not is_odd(key.care_unit)]
    _prefetch(info, lookahead, found)
    _prefetch_beside(info, node, {key for key, _ in found})


def _prefetch_beside(info: Info, own: FieldNode, keys: Collection[CareUnitKey]) -> None:
    """Start what other root fields ask of the same care units, since they wait for lists before they do it.

    So all of it is planned together, and the calls are those of the widest.
    """
    document, context = DocumentScope.of(info), info.context
    for root in root_fields_of(document, info.raw.operation, info.memo):
        if root.node is own:
            continue
        for named in root.named(document, context):
            if isinstance(named, NodeId) and named.care_unit in keys:
                below = UnitRequest.of(root, named)
                _prefetch(info, root.lookahead(document, named.type), [(named.care_unit, below.own_filters)])
        for listing, profile in root.care_units(document, context):
            listed = [(key, _NO_FILTERS) for key in keys if key.emr == profile.code]
            _prefetch(info, listing.lookahead(document, NodeType.CARE_UNIT), listed)


def _prefetch(info: Info, lookahead: Lookahead, found: Sequence[tuple[CareUnitKey, Filters]]) -> None:
    asked = DocumentScope.of(info).asked(lookahead) if lookahead.timeslots else ()
    context = info.context
    for key, own_filters in found:
        # A resolver that needs what is refused here meets the refusal too.
        with suppress(GatewayError):
            context.loaders.start_lists(key, lookahead.reads)
        for arguments in asked:
            with suppress(GatewayError):
                own = own_filters if arguments.of is None else (None, None)
                if arguments.names_services:
                    context.loaders.start_lists(key, Reads.HEALTHCARE_SERVICES)
                profile = context.profiles.of_unit(key)
                for asked_for in context.queries.checked_queries(key, arguments.request, *own):
                    # Else each of the nodes below will ask for itself when their list has come.
                    query = asked_for.query
                    if query is not None and is_asked_at_once(query, arguments.of, profile):
                        context.start_timeslots(asked_for)


def is_asked_at_once(query: TimeslotQuery, of: str | None, profile: EhrProfile) -> bool:
    """Whether a query of a whole care unit answers what the nodes of a type below it ask, each about itself."""
    named = _NAMED_BY.get(of)
    return named is None or not profile.needs_unit_lists or holds_each_answer(query, named, profile)


_NAMED_BY: Mapping[str | None, UnitLists] = {
    NodeType.RESOURCE: UnitLists.RESOURCES,
    NodeType.HEALTHCARE_SERVICE: UnitLists.SERVICES,
}
