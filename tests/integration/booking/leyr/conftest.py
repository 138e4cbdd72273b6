"""Leyr's client on the simulator, as the gateway has it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from pydantic import SecretStr

from gateway.domain.window import time_zone
from gateway.http_client.httpx2_client import Httpx2Client
from gateway.leyr.appointments_client import AppointmentsClient
from gateway.leyr.client import LeyrTransport
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicies
from tests.harness import CLIENT_ID, CLIENT_SECRET, NOW, Simulator
from tests.integration.booking.ehr import Ehr

ClientFactory = Callable[..., AbstractAsyncContextManager[AppointmentsClient]]


@pytest.fixture
def client_of(simulator: Simulator) -> ClientFactory:
    @asynccontextmanager
    async def made(seconds: float = 20.0, url: str = simulator.url) -> AsyncIterator[AppointmentsClient]:
        transport = LeyrTransport(f"{url}/api", CLIENT_ID, SecretStr(CLIENT_SECRET), writes=Httpx2Client)
        policies = UpstreamPolicies(PolicyConfig(), PolicyDependencies())
        zone = time_zone("Europe/Stockholm")
        async with transport:
            client = AppointmentsClient(transport, policies, lambda: NOW, lambda _: zone, seconds)
            yield client
            await client.close()

    return made


@pytest.fixture
def webdoc(simulator: Simulator) -> Ehr:
    return Ehr(simulator, "webdoc")
