"""The benchmark of a fleet: a small run has processes that share a store call about as often as one."""

from benchmarks.fleet import Contender, run, table
from tests.stores import need_store_server

REQUESTS = 60


def test_processes_that_share_a_store_call_less_often_than_those_that_do_not() -> None:
    need_store_server()
    alone, shared = Contender(3, shares=False), Contender(3, shares=True)

    found = run([alone, shared], rounds=1, requests=REQUESTS, latency=50)

    (of_alone,), (of_shared,) = found[alone], found[shared]
    assert len(of_alone.latencies) == len(of_shared.latencies) == REQUESTS
    assert of_shared.calls < 0.85 * of_alone.calls
    assert (of_alone.first_calls > 0, of_shared.first_calls) == (True, 0)
    assert [line.split(" | ")[0] for line in table(found)[2:]] == ["| 3 processes", "| 3 processes, one store"]
