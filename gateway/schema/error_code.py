"""The codes that errors carry in `extensions.code`."""

from enum import Enum

import strawberry


@strawberry.enum(
    description=(
        "What `extensions.code` of an error says. New codes may come, so take one that you do not know as its "
        "`extensions.retryable` says: send the same request again later, or do not."
    )
)
class ErrorCode(Enum):
    """Every code of the error tree, for clients that generate types from the schema."""

    BAD_USER_INPUT = strawberry.enum_value(
        "BAD_USER_INPUT",
        description="The request must change: a malformed document, value or id, a window that is empty or too wide.",
    )
    NOT_FOUND = strawberry.enum_value("NOT_FOUND", description="The id is well formed but names nothing.")
    OPERATION_TOO_LARGE = strawberry.enum_value(
        "OPERATION_TOO_LARGE", description="A limit would be passed; the message says which and by how much."
    )
    PERSISTED_QUERY_NOT_FOUND = strawberry.enum_value(
        "PERSISTED_QUERY_NOT_FOUND",
        description="The gateway has no document of this hash; send the document along, where that is allowed.",
    )
    PERSISTED_QUERY_NOT_SUPPORTED = strawberry.enum_value(
        "PERSISTED_QUERY_NOT_SUPPORTED",
        description="The gateway registers no documents by their hash; send the document alone from now on.",
    )
    UNAUTHENTICATED = strawberry.enum_value("UNAUTHENTICATED", description="The request has no valid key or token.")
    FORBIDDEN = strawberry.enum_value(
        "FORBIDDEN",
        description="The caller may not have this, or another site's page may have sent the request.",
    )
    RATE_LIMITED = strawberry.enum_value(
        "RATE_LIMITED",
        description=(
            "The caller sends more requests, or makes more upstream calls, than it was granted; "
            "`retryAfter` says when to ask again."
        ),
    )
    KEYS_UNAVAILABLE = strawberry.enum_value(
        "KEYS_UNAVAILABLE",
        description=(
            "The issuer's keys cannot be had, so no token can be judged now; `retryAfter` says when to ask again."
        ),
    )
    OVERLOADED = strawberry.enum_value(
        "OVERLOADED",
        description=(
            "The gateway answers as many requests as it can already, and the caller has its part; "
            "`retryAfter` says when to ask again."
        ),
    )
    NOT_SUPPORTED = strawberry.enum_value("NOT_SUPPORTED", description="The EHR cannot do this.")
    UPSTREAM_UNAVAILABLE = strawberry.enum_value(
        "UPSTREAM_UNAVAILABLE", description="Leyr or the clinic's EHR did not answer, or said: not now."
    )
    UPSTREAM_RATE_LIMITED = strawberry.enum_value(
        "UPSTREAM_RATE_LIMITED",
        description="Too many requests for Leyr or the EHR; `retryAfter` says when to ask again.",
    )
    UPSTREAM_REJECTED_CREDENTIALS = strawberry.enum_value(
        "UPSTREAM_REJECTED_CREDENTIALS",
        description=(
            "Leyr refuses the gateway's credentials (origin `leyr`), or the EHR refuses Leyr's (origin `ehr`)."
        ),
    )
    UPSTREAM_INVALID_ANSWER = strawberry.enum_value(
        "UPSTREAM_INVALID_ANSWER", description="The answer was not what Leyr's documentation promises."
    )
    DEADLINE_EXCEEDED = strawberry.enum_value("DEADLINE_EXCEEDED", description="The answer did not come in time.")
    INTERNAL = strawberry.enum_value(
        "INTERNAL", description="A fault of the gateway; its log has the details under the reference."
    )
