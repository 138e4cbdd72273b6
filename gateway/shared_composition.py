"""The shared store, joined: its connection, what is sealed how, its logs of events, and what hears of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from gateway.settings import Settings, SettingsError
from gateway.shared_store.reads import ReadEvents
from gateway.telemetry.shared_store_log import SharedStoreEvents

if TYPE_CHECKING:
    # Nothing of it is imported where nothing is shared.
    from gateway.auth.shared_rates import SharedRates
    from gateway.http.shared_documents import SharedDocuments
    from gateway.leyr.shared_quotas import SharedQuotas
    from gateway.shared_store.event_log import EventLogs
    from gateway.shared_store.sealing import Sealing
    from gateway.shared_store.store import SharedStore

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

    store: "SharedStore"
    sealing: "Sealing"
    logs: "EventLogs"
    reads: ReadEvents
    """Who is told what came of looking into it."""
    documents: "SharedDocuments"
    rates: "SharedRates"
    quotas: "SharedQuotas"

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
                "GATEWAY_SHARED_URL needs the extra `shared`, which is not installed: "
                "run `python -m pip install --require-hashes -r requirements/extras.txt`, "
                "or build the image with `--build-arg LOCK=extras`"
            ) from None
        from gateway.auth.shared_rates import SharedRates  # noqa: PLC0415 # as said above
        from gateway.http.shared_documents import SharedDocuments  # noqa: PLC0415 # as said above
        from gateway.leyr.shared_quotas import SharedQuotas  # noqa: PLC0415 # as said above
        from gateway.shared_store.event_log import EventLogs  # noqa: PLC0415 # as said above
        from gateway.shared_store.sealing import Sealing  # noqa: PLC0415 # as said above
        from gateway.shared_store.store import SharedStore, StoreConfig  # noqa: PLC0415 # as said above

        store = SharedStore(
            StoreConfig(address, settings.shared_timeout_seconds, settings.gateway_shared_prefix),
            events,
            connect=ServerConnection.open,
            clock=outside.clock,
            new_secret=outside.new_secret,
            chance=outside.chance,
        )
        events.store_begun()
        store.on_answer(events.store_answered)
        client_id, secret = settings.credentials()
        context = (_VERSION, settings.leyr_base_url, client_id)
        sealing = Sealing(secret.get_secret_value().encode(), context, outside.new_secret, events.store_garbage)
        return cls(
            store,
            sealing,
            EventLogs(store, sealing),
            events,
            SharedDocuments(store, sealing, outside.clock, events),
            SharedRates(store, sealing, outside.clock),
            SharedQuotas(store, sealing, outside.new_secret),
        )

    async def __aenter__(self) -> Self:
        await self.store.__aenter__()
        await self.rates.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.rates.__aexit__(*error)
        await self.store.__aexit__(*error)
