"""The upstream calls that a root field makes itself, such as those of a booking, counted before the first of them."""

from contextlib import suppress
from functools import reduce
from operator import or_

from graphql import GraphQLError

from gateway.schema.loaders import Reads
from gateway.schema.lookahead import DocumentScope, FindingField, OwnCalls, lookahead_of


def own_calls(root: FindingField, document: DocumentScope) -> int:
    """The calls that it makes itself at most, and those for the lists and free times of what it comes to."""
    if not isinstance(root.finds, OwnCalls):
        return 0
    calls = root.finds.calls
    if root.finds.each:
        with suppress(GraphQLError):
            calls += root.finds.each * len((root.argument(document, "input") or {}).get(root.finds.of) or ())
    found = [lookahead_of(document, [root.node], each.name) for each in document.object_types(root.definition.type)]
    reads = reduce(or_, (each.reads for each in found), Reads.NOTHING)
    return calls + reads.unit_lists + (Reads.CARE_UNITS in reads) + (Reads.TIMESLOTS in reads)
