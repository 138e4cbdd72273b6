"""The shared store, joined: its connection, what is sealed how, its logs of events, and what hears of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

from gateway.auth.shared_rates import SharedRates
from gateway.http.shared_documents import SharedDocuments
from gateway.settings import Settings, SettingsError
from gateway.shared_store.event_log import EventLogs
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore, StoreConfig
from gateway.telemetry.shared_store_log import SharedStoreEvents

# What is written may be read by processes of the same version alone.
_VERSION = "1"


class TimeAndChance(NamedTuple):
    """What comes from outside of the process."""

    clock: Callable[[], float]
    new_secret: Callable[[], bytes]
    chance: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Shared:
    """The shared store and what is made over it. An async context manager, which does not wait for a connection."""

    store: SharedStore
    sealing: Sealing
    logs: EventLogs
    documents: SharedDocuments
    rates: SharedRates

    @classmethod
    def of(cls, settings: Settings, events: SharedStoreEvents, outside: TimeAndChance) -> "Shared | None":
        """What the settings say; None where nothing is shared. Raises SettingsError."""
        address = settings.store_address
        if address is None:
            return None
        try:
            # Its library is an extra.
            from gateway.shared_store.connection import ServerConnection  # noqa: PLC0415 # as said above
        except ImportError:
            raise SettingsError(
                "GATEWAY_SHARED_URL needs the package's extra `shared`: pip install 'leyr-graphql-gateway[shared]'"
            ) from None
        store = SharedStore(
            StoreConfig(address, settings.shared_timeout_seconds, settings.gateway_shared_prefix),
            events,
            connect=ServerConnection.open,
            clock=outside.clock,
            new_secret=outside.new_secret,
            chance=outside.chance,
        )
        client_id, secret = settings.credentials()
        context = (_VERSION, settings.leyr_base_url, client_id)
        sealing = Sealing(secret.get_secret_value().encode(), context, outside.new_secret)
        return cls(
            store,
            sealing,
            EventLogs(store, sealing),
            SharedDocuments(store, sealing, outside.clock),
            SharedRates(store, sealing, outside.clock),
        )

    async def __aenter__(self) -> Self:
        await self.store.__aenter__()
        await self.rates.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.rates.__aexit__(*error)
        await self.store.__aexit__(*error)
