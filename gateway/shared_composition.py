"""The shared store, joined: its connection, what is sealed how, its logs of events, and what hears of it."""

from dataclasses import dataclass
from functools import partial
from typing import Self

from gateway.auth.shared_rates import SharedRates
from gateway.fetch.catalog import ShareLists
from gateway.fetch.shared_lists import ListSharing, SharedLists
from gateway.fetch.shared_timeslots import SharedTimeslots
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.http.shared_documents import SharedDocuments
from gateway.leyr.shared_quotas import SharedQuotas
from gateway.settings import Settings, SettingsError
from gateway.shared_store.address import StoreAddress
from gateway.shared_store.event_log import EventLogs
from gateway.shared_store.leases import Leases
from gateway.shared_store.reads import ReadEvents
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore, StoreConfig
from gateway.telemetry.shared_store_log import SharedStoreEvents
from gateway.time_and_chance import TimeAndChance

# What is written may be read by processes of the same version alone.
_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Shared:
    """The shared store and what is made over it. An async context manager, which does not wait for a connection."""

    store: SharedStore
    sealing: Sealing
    logs: EventLogs
    leases: Leases
    outside: TimeAndChance
    reads: ReadEvents
    """Who is told what came of looking into it."""
    documents: SharedDocuments
    rates: SharedRates
    quotas: SharedQuotas

    @classmethod
    def of(
        cls, settings: Settings, address: StoreAddress, events: SharedStoreEvents, outside: TimeAndChance
    ) -> "Shared":
        """What the settings say of the store at an address. Raises SettingsError."""
        try:
            # Its library is an extra.
            from gateway.shared_store.connection import ServerConnection  # noqa: PLC0415 # as said above
        except ImportError:
            raise SettingsError(
                "GATEWAY_SHARED_URL needs the extra `shared`, which is not installed: "
                "run `python -m pip install --require-hashes -r requirements/extras.txt`, "
                "or build the image with `--build-arg LOCK=extras`"
            ) from None

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
        logs = EventLogs(store, sealing)
        return cls(
            store,
            sealing,
            logs,
            Leases(logs, outside.new_secret),
            outside,
            events,
            SharedDocuments(store, sealing, outside.clock, events),
            SharedRates(store, sealing, outside.clock),
            SharedQuotas(store, sealing, outside.new_secret),
        )

    def lists(self) -> ShareLists:
        """What makes lists of the catalogue shared ones."""
        return partial(SharedLists, ListSharing(self.logs, self.leases, self.reads, self.outside.clock))

    def share(self, calls: TimeslotCalls) -> None:
        """Let timeslots be asked once for all processes, as long as they are remembered at all."""
        if calls.snapshots.lifetimes.fresh:
            clock, new_secret = self.outside.clock, self.outside.new_secret
            shared = SharedTimeslots(calls, self.logs, self.leases, self.reads, new_secret=new_secret, clock=clock)
            calls.share(shared)

    async def __aenter__(self) -> Self:
        await self.store.__aenter__()
        await self.rates.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.rates.__aexit__(*error)
        await self.store.__aexit__(*error)
