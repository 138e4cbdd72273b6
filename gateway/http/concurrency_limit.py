"""Load shedding: how many requests are answered at a time, how many bytes wait to be read, and who is rejected first.

Whoever is alone may have all of it. What is full is shared: a caller with little gets in, and one of those with the
most is rejected for it.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.auth.rate_limit import Limit, Reached
from gateway.domain.errors import Overloaded
from gateway.fetch.fetch_scope import FetchScope

_RETRY_SECONDS = 1.0
_GUESTS_PER_PERMIT = 1 / 8
_MESSAGES = {
    Limit.REQUESTS: "The gateway is busy; try again",
    Limit.REQUESTS_OF_CALLER: "The gateway is busy, and you have the most requests in it; try again",
    Limit.REQUESTS_OF_EHR: "The gateway is busy, and most requests in it wait for this EHR; try again",
    Limit.UNSENT_BYTES: "Too much of your earlier answers is not read yet; try again",
}


def overloaded(limit: Limit) -> Overloaded:
    """The error of a request that a limit rejects."""
    return Overloaded(_MESSAGES[limit], retryable=True, retry_after=_RETRY_SECONDS)


_Permits: TypeAlias = "dict[RequestPermit, None]"


class RequestPermit:
    """A context manager around the work on one request, which raises Overloaded where there is no room for it.

    `refusal` is set where a permit was revoked while the request waited for upstream: its fields fail, and its caller
    gets this error; that of a mutation `is_protected`. A *guest* was let in above the limit, for as long as it does not
    wait.
    """

    __slots__ = ("_limit", "caller", "ehrs", "is_guest", "is_protected", "refusal", "scope")

    def __init__(self, limit: "ConcurrencyLimit", caller: Hashable) -> None:
        self._limit = limit
        self.caller = caller
        self.ehrs: tuple[str, ...] = ()
        self.is_guest = False
        self.is_protected = False
        self.refusal: Limit | None = None
        self.scope: FetchScope | None = None

    def __enter__(self) -> None:
        self._limit.enter(self)

    def __exit__(self, *_: object) -> None:
        # The scope refers to this permit: with the reference kept, both would be garbage in a cycle.
        self.scope = None
        if self.refusal is None:
            self._limit.leave(self)

    def wait_for(self, emr: str) -> None:
        """The request begins to wait for an EHR."""
        if emr not in self.ehrs and self.refusal is None:
            self._limit.begin_to_wait(self, emr)

    def revoke(self, limit: Limit) -> None:
        """Let every field fail that waits, or will want to."""
        self.refusal = limit
        if self.scope is not None:
            self.scope.expire(lambda: overloaded(limit))


@dataclass(slots=True, eq=False)
class ConcurrencyLimit:
    """The permits of the requests that are being worked on; `active` of them, and no more than `limit` for long.

    A request beyond the limit is rejected at once, since waiting would help no client. Only work counts: an idle
    connection, a body that is still arriving and a probe count nothing.

    Where all permits are in use, a request is let in as a guest. When it begins to wait for an EHR, it takes the permit
    of the newest request of the caller with the most, if those are at least two more than its own caller's; or else of
    the EHR with the most, if those are at least two more than its own EHR's, from its own caller or one with more. So
    a caller with less than an equal part is never rejected, whatever others hold; nor does an EHR that keeps everybody
    waiting keep out those who ask for others. Which EHRs a request needs is known only when it waits.
    """

    limit: int
    reached: Reached = field(default_factory=Counter)
    active: int = 0
    guests: int = 0
    _by_caller: dict[Hashable, _Permits] = field(default_factory=dict)
    _by_ehr: dict[Hashable, _Permits] = field(default_factory=dict)

    def permit(self, caller: Hashable) -> RequestPermit:
        """The permit for one request."""
        return RequestPermit(self, caller)

    def enter(self, permit: RequestPermit) -> None:
        """Count a request. Raises Overloaded."""
        if self.active >= self.limit:
            limit = self._limit_of_guests(permit.caller)
            if limit is not None:
                self.reached[limit] += 1
                raise overloaded(limit)
            self.guests += 1
            permit.is_guest = True
        else:
            self._add(permit)

    def _add(self, permit: RequestPermit) -> None:
        self.active += 1
        permits = self._by_caller.get(permit.caller)
        if permits is None:
            permits = self._by_caller[permit.caller] = {}
        permits[permit] = None

    def leave(self, permit: RequestPermit) -> None:
        """Count a request no more."""
        if permit.is_guest:
            self.guests -= 1
            return
        self.active -= 1
        _remove(self._by_caller, permit.caller, permit)
        for emr in permit.ehrs:
            _remove(self._by_ehr, emr, permit)

    def begin_to_wait(self, permit: RequestPermit, emr: str) -> None:
        """Count a request among those that wait for an EHR; a guest takes a permit, or is revoked."""
        if permit.is_guest:
            found = self._permit_to_revoke(permit.caller, emr) if self.active >= self.limit else None
            if isinstance(found, Limit):
                self._revoke(permit, found)
                return
            if found is not None:
                self._revoke(*found)
            self.guests -= 1
            permit.is_guest = False
            self._add(permit)
        permit.ehrs += (emr,)
        self._by_ehr.setdefault(emr, {})[permit] = None

    def _revoke(self, permit: RequestPermit, limit: Limit) -> None:
        self.leave(permit)
        self.reached[limit] += 1
        permit.revoke(limit)

    def _limit_of_guests(self, caller: Hashable) -> Limit | None:
        """Why a caller may send no guest; None where it may."""
        if self.guests >= max(1, self.limit * _GUESTS_PER_PERMIT):
            return Limit.REQUESTS
        held, most = len(self._by_caller.get(caller, ())), _most(self._by_caller)
        if held + 1 < most or _most(self._by_ehr) > 1:
            return None
        return Limit.REQUESTS_OF_CALLER if held == most > 1 else Limit.REQUESTS

    def _permit_to_revoke(self, caller: Hashable, emr: str) -> tuple[RequestPermit, Limit] | Limit:
        """The permit that a guest gets, with the reason for its owner; or the reason why it gets none."""
        held, most = len(self._by_caller.get(caller, ())), _most(self._by_caller)
        if most > held + 1:
            for permits in self._by_caller.values():
                for permit in reversed(permits if len(permits) == most else {}):
                    if permit.ehrs and not permit.is_protected:
                        return permit, Limit.REQUESTS_OF_CALLER
        waiting, most = len(self._by_ehr.get(emr, ())), _most(self._by_ehr)
        if most > waiting + 1:
            for permits in self._by_ehr.values():
                for permit in reversed(permits if len(permits) == most else {}):
                    has_more = permit.caller == caller or len(self._by_caller[permit.caller]) > held
                    if has_more and not permit.is_protected:
                        return permit, Limit.REQUESTS_OF_EHR
        return Limit.REQUESTS_OF_EHR


def _most(permits: dict[Hashable, _Permits]) -> int:
    return max(map(len, permits.values()), default=0)


def _remove(permits: dict[Hashable, _Permits], key: Hashable, permit: RequestPermit) -> None:
    of_key = permits[key]
    del of_key[permit]
    if not of_key:
        del permits[key]


@dataclass(slots=True, eq=False)
class UnsentBytes:
    """The bytes of large responses that are being sent: each caller has no more than all together leave free.

    So one caller may have half of `limit`, the next half of the rest; and a connection, which sends one response at a
    time, half of what its caller has left. A response that several clients are sent is the same memory, and counts
    once for all, and once for each caller.
    """

    limit: int = 512 * 1024 * 1024
    reached: Reached = field(default_factory=Counter)
    total: int = 0
    _by_caller: Counter[Hashable] = field(default_factory=Counter)
    _sent: dict[Hashable, tuple[int, int]] = field(default_factory=dict)

    def check(self, caller: Hashable) -> None:
        """Reject a request of a caller that has more unsent than is left free. Raises Overloaded."""
        if self.total and self._by_caller.get(caller, 0) >= max(1, self.limit - self.total):
            self._reject()

    @contextmanager
    def sending(self, caller: Hashable, response: object, size: int) -> Iterator[None]:
        """Count a response of `size` bytes while it is being sent. Raises Overloaded, before anything is sent.

        Whatever its size, a response may be sent where no other is.
        """
        for_all, for_caller = id(response), (caller, id(response))
        left = self.limit - self.total - self._by_caller[caller]
        if self.total and for_caller not in self._sent and 2 * size > left:
            self._reject()
        self.total += self._begin(for_all, size)
        self._by_caller[caller] += self._begin(for_caller, size)
        try:
            yield
        finally:
            self.total -= self._end(for_all)
            self._by_caller[caller] -= self._end(for_caller)
            if not self._by_caller[caller]:
                del self._by_caller[caller]

    def _begin(self, key: Hashable, size: int) -> int:
        """The bytes that one more send adds: none where the same response is being sent already."""
        sends, first_size = self._sent.get(key, (0, size))
        self._sent[key] = sends + 1, first_size
        return 0 if sends else size

    def _end(self, key: Hashable) -> int:
        """The bytes that are no longer kept for this send."""
        sends, size = self._sent.pop(key)
        if sends > 1:
            self._sent[key] = sends - 1, size
            return 0
        return size

    def _reject(self) -> None:
        self.reached[Limit.UNSENT_BYTES] += 1
        raise overloaded(Limit.UNSENT_BYTES)
