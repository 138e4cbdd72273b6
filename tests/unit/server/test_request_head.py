"""The check of a request's head: its limits are exact, and nothing ambiguous passes."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.request_head import ConnectionLimits, RejectedRequestError, check_head

NAMES = st.sampled_from([b"accept", b"cookie", b"x-a"])


@given(
    fields=st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=12),
    header_bytes=st.integers(5, 300),
    headers=st.integers(1, 12),
)
def test_a_head_passes_exactly_within_its_limits(
    fields: list[tuple[bytes, bytes]], header_bytes: int, headers: int
) -> None:
    limits = ConnectionLimits(header_bytes=header_bytes, headers=headers)
    sent = [(b"host", b"a"), *fields]
    written = b"".join(b"%b: %b\r\n" % each for each in sent)

    within = len(written) <= header_bytes and len(sent) <= headers
    with nullcontext() if within else pytest.raises(RejectedRequestError):
        check_head("1.1", sent, limits)
