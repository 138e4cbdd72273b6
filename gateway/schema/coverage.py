"""Whether an availability says all that its care units have free, and what it lacks where it does not."""

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum

import strawberry

from gateway.domain.errors import GatewayError, OperationTooLarge, RateLimited
from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import CareUnitKey
from gateway.domain.personal_numbers import may_hide_a_personal_number
from gateway.domain.queries import TimeslotQuery
from gateway.schema.error_code import ErrorCode


@strawberry.enum(description="Why something may be free that an availability does not hold. New reasons may come.")
class CoverageGapReason(Enum):
    """The reasons."""

    FAILED = strawberry.enum_value("FAILED", description="The free times could not be had; `code` says why.")
    OUTSIDE_EVERY_FILTER = strawberry.enum_value(
        "OUTSIDE_EVERY_FILTER",
        description=(
            "The EHR lists free times by resource or by healthcare service alone, so that those of none that the care "
            "unit lists are not found."
        ),
    )
    ROWS_DROPPED = strawberry.enum_value(
        "ROWS_DROPPED", description="The EHR's answer held rows that cannot be used, so they are left out."
    )
    LIMIT = strawberry.enum_value(
        "LIMIT", description="The free times were not asked for, since a limit of the gateway would be passed."
    )


@strawberry.type(
    description='A part of an availability about which nothing, or not all, is known. It is never "nothing free".'
)
class CoverageGap:
    """One gap."""

    care_unit_id: strawberry.ID = strawberry.field(description="The node id of the care unit.")
    resource_id: strawberry.ID | None = strawberry.field(
        description=(
            "The node id of the resource whose free times alone are concerned. Null where all may be, and for an id "
            "that may hide a personal number."
        )
    )
    healthcare_service_id: strawberry.ID | None = strawberry.field(
        description=(
            "The node id of the healthcare service whose free times alone are concerned. Null where all may be, and "
            "for an id that may hide a personal number."
        )
    )
    reason: CoverageGapReason = strawberry.field(description="Why something may be missing.")
    code: ErrorCode | None = strawberry.field(
        description="What an error would say in `extensions.code`. Null where nothing failed."
    )
    retryable: bool = strawberry.field(description="Whether the same request may be answered in full later.")
    retry_after_seconds: float | None = strawberry.field(
        description="In how many seconds to ask again, where that is known. Null where it is not, or makes no sense."
    )

    @classmethod
    def of_error(cls, query: TimeslotQuery, error: GatewayError) -> "CoverageGap":
        """What is missing where a query failed."""
        is_limit = isinstance(error, (OperationTooLarge, RateLimited))
        gap = cls.of_query(query, CoverageGapReason.LIMIT if is_limit else CoverageGapReason.FAILED)
        code = ErrorCode.__members__.get(error.code, ErrorCode.INTERNAL)
        return replace(gap, code=code, retryable=error.retryable, retry_after_seconds=error.retry_after)

    @classmethod
    def of_query(cls, query: TimeslotQuery, reason: CoverageGapReason) -> "CoverageGap":
        """What is missing of the answer to a query."""
        return cls(
            care_unit_id=strawberry.ID(care_unit_id(query.care_unit)),
            resource_id=_owner_id(NodeType.RESOURCE, query.care_unit, query.resource),
            healthcare_service_id=_owner_id(NodeType.HEALTHCARE_SERVICE, query.care_unit, query.service),
            reason=reason,
            code=None,
            retryable=False,
            retry_after_seconds=None,
        )


def _owner_id(node_type: NodeType, key: CareUnitKey, leyr_id: str | None) -> strawberry.ID | None:
    """The node id of an owner; not of one that a client may have named by somebody's personal number."""
    if leyr_id is None or may_hide_a_personal_number(leyr_id):
        return None
    return strawberry.ID(node_id(node_type, key, leyr_id))


@strawberry.type(
    description=(
        "Whether free times are all that there are. Where they are not, what is shown is free, and more may be. It has "
        "no counterpart in FHIR R4."
    )
)
class Coverage:
    """The gaps of an availability or of a part of it."""

    complete: bool = strawberry.field(description="Whether there is no gap.")
    gaps: list[CoverageGap] = strawberry.field(description="What may be missing, and why. `[]` where nothing is.")

    @classmethod
    def of(cls, gaps: Iterable[CoverageGap]) -> "Coverage":
        """The coverage with these gaps, each once."""
        found: list[CoverageGap] = []
        for gap in gaps:
            if gap not in found:
                found.append(gap)
        return cls(complete=not found, gaps=found)
