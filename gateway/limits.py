"""What a request may cost, as settings."""

from pydantic import BaseModel, Field

_TAKING_SECONDS = 5


class Limits(BaseModel):
    """Limits on requests, operations and callers; a field's environment name is its own name in capitals."""

    gateway_max_body_bytes: int = Field(65_536, ge=1_024, le=16_777_216, description="The longest body of a request.")
    gateway_max_header_bytes: int = Field(
        16_384, ge=1_024, le=1_048_576, description="What all headers of a request may hold together, in bytes."
    )
    gateway_max_headers: int = Field(64, ge=8, le=1_000, description="How many headers a request may have.")
    gateway_max_url_bytes: int = Field(8_192, ge=256, le=65_536, description="The longest URL of a request.")
    gateway_max_json_depth: int = Field(
        16, ge=2, le=200, description="How deep arrays and objects of a request's JSON may be nested."
    )
    gateway_max_integer_digits: int = Field(
        20, ge=1, le=1_000, description="How many digits an integer in JSON or in a document may have."
    )
    gateway_max_tokens: int = Field(1_000, ge=10, le=100_000, description="How many tokens a document may have.")
    gateway_max_depth: int = Field(10, ge=1, le=100, description="How deep fields may be nested.")
    gateway_max_aliases: int = Field(30, ge=0, le=100_000, description="How many aliases an operation may use.")
    gateway_max_root_fields: int = Field(10, ge=1, le=10_000, description="How many root fields an operation may have.")
    gateway_max_directives: int = Field(20, ge=0, le=10_000, description="How many directives an operation may use.")
    gateway_max_selections: int = Field(
        2_000, ge=1, le=1_000_000, description="How many fields an operation may select, its fragments expanded."
    )
    gateway_max_errors: int = Field(20, ge=1, le=1_000, description="How many errors an answer holds at most.")
    gateway_max_upstream_calls: int = Field(
        200, ge=1, le=100_000, description="How many upstream calls an operation may need, were nothing remembered."
    )
    gateway_max_timeslots: int = Field(
        100_000, ge=1, le=10_000_000, description="How many timeslots an answer may hold."
    )
    gateway_max_concurrent_requests: int = Field(
        512, ge=1, le=100_000, description="How many GraphQL requests are answered at a time; more get 503."
    )
    gateway_max_connections: int = Field(
        10_000, ge=1, le=1_000_000, description="How many connections clients may hold open; more are dropped."
    )
    gateway_receive_seconds: float = Field(
        10, gt=0, le=600, description="For how long a request may take to arrive, and a client to take its answer."
    )
    gateway_drain_seconds: float = Field(
        5, ge=0, le=600, description="For how long after SIGTERM requests are still taken, while `/readyz` says 503."
    )
    gateway_deadline_seconds: float = Field(
        10, gt=0, le=120, description="For how long a request may wait for upstream; what is not there then is null."
    )
    gateway_attempt_seconds: float = Field(
        5, gt=0, le=120, description="For how long one attempt of an upstream call may take."
    )
    gateway_calls_per_ehr: int = Field(
        64, ge=1, le=10_000, description="How many upstream calls an EHR gets at a time; fewer after it said 429."
    )
    gateway_rate_per_second: float = Field(
        50, gt=0, le=1_000_000, description="How many requests a second a caller with a key or a token may send."
    )
    gateway_rate_burst: int = Field(
        100, ge=1, le=1_000_000, description="How many requests a caller may send at once after a pause."
    )

    @property
    def grace_seconds(self) -> float:
        """How long the last requests may take after the drain: to arrive, to wait for upstream, and to be taken."""
        return self.gateway_receive_seconds + self.gateway_deadline_seconds + _TAKING_SECONDS
