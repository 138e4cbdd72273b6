"""Leyr's error envelope (docs pages D12-D17, leyr-api.md 6.1)."""

from dataclasses import dataclass
from uuid import uuid4

import orjson

from gateway.simulator.answers import Answer

_TITLES = {
    "BAD_REQUEST": "Request validation failed",
    "UNAUTHORIZED": "Unauthorized",
    "EMR_ERROR": "Internal EMR error",
    "UNKNOWN_ERROR": "Unknown error",
    "SERVICE_UNAVAILABLE": "Service unavailable",
    # No docs page shows the following three; chosen in the manner of the others.
    "NOT_FOUND": "Not found",
    "METHOD_NOT_ALLOWED": "Method not allowed",
    "TOO_MANY_REQUESTS": "Too many requests",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as Leyr reports it; without an error code it has no `errors`, as older samples show."""

    status: int
    code: str
    detail: str
    error_code: str | None = None

    def answer(self, *headers: tuple[bytes, bytes]) -> Answer:
        """Write the envelope, with a fresh `instance`."""
        envelope: dict[str, object] = {
            "code": self.code,
            "status": self.status,
            "title": _TITLES[self.code],
            "type": f"https://docs.leyr.io/api/error-handling/{self.code.lower()}",
            "detail": self.detail,
            "instance": str(uuid4()),
        }
        if self.error_code is not None:
            envelope["errors"] = [
                {"error_code": self.error_code, "details": self.detail, "path": None, "emr_error": None}
            ]
        return Answer(orjson.dumps(envelope), self.status, headers=headers)


class Refusal(Exception):  # noqa: N818 # not every answer with a problem is an error of the program
    """Ends a request with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def rejected(error_code: str, details: str) -> Refusal:
    """Refuse with 400 and one of the error codes of docs page D12."""
    return Refusal(Problem(400, "BAD_REQUEST", details, error_code))


def invalid(*place: str, message: str) -> Refusal:
    """Refuse with 400 and Pydantic-like text but no `errors` (docs page D13)."""
    text = f"1 validation error for Request\n{' -> '.join(place)}\n  {message}"
    return Refusal(Problem(400, "BAD_REQUEST", text))
