"""The tables of the journal's file, and what is done to them within one transaction."""

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.booking.journal import Hold, JournalEntry, JournalState
from gateway.booking.journal_codec import decoded, encoded
from gateway.domain.appointments import Appointment, TimeRange
from gateway.domain.booking import AwaitingConfirmation, Booked, Cancelled
from gateway.domain.models import CareUnitKey

_VERSION = 1
_BUSY_SECONDS = 5.0
_PAGE_BYTES = 4_096
_REMOVED_AT_ONCE = 200
_MOST_UNSETTLED = 100
# SQLite's own bound on parameters is far above.
_ASKED_AT_ONCE = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB);
CREATE TABLE IF NOT EXISTS entries (
    key BLOB PRIMARY KEY, owner TEXT, state TEXT, expires REAL, body BLOB,
    care_unit TEXT, resource TEXT, starts REAL, ends REAL, sent REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expiring ON entries (expires);
CREATE INDEX IF NOT EXISTS unsettled ON entries (care_unit, ends) WHERE state IN ('sent', 'unknown');
CREATE INDEX IF NOT EXISTS asked ON entries (care_unit, ends) WHERE ends IS NOT NULL;
CREATE TABLE IF NOT EXISTS outcomes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, care_unit TEXT, appointment TEXT, key BLOB
);
CREATE INDEX IF NOT EXISTS by_appointment ON outcomes (care_unit, appointment);
CREATE INDEX IF NOT EXISTS by_key ON outcomes (key);
CREATE TABLE IF NOT EXISTS holds (
    key BLOB PRIMARY KEY, owner TEXT, until REAL,
    care_unit TEXT, resource TEXT, starts REAL, ends REAL, appointment TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holding ON holds (care_unit);
CREATE TABLE IF NOT EXISTS attempts (appointment BLOB PRIMARY KEY, number INTEGER, expires REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expiring_attempts ON attempts (expires);
CREATE TABLE IF NOT EXISTS secret (number INTEGER PRIMARY KEY CHECK (number = 1), digest BLOB);
"""


def connected(path: Path, max_mb: int) -> sqlite3.Connection:
    """A connection to the file, which another thread will use. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in {0, _VERSION}:
            raise sqlite3.DatabaseError(f"another version of the gateway wrote it ({version})")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA max_page_count = {max_mb * 1_024 * 1_024 // _PAGE_BYTES}")
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def kept_secret(connection: sqlite3.Connection, name: str, new: bytes) -> bytes:
    """The secret of a name that the file keeps, which is new where it has none. Raises sqlite3.Error."""
    connection.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, new))
    (found,) = connection.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
    return bytes(found)


def note_secret(connection: sqlite3.Connection, accepted: Sequence[bytes], now: datetime) -> None:
    """Write down a digest of the secret that keys are kept under, the first of those that are accepted.

    Raises sqlite3.DatabaseError where the last one is none of them: no key that it kept would be found again.
    """
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        kept = connection.execute("SELECT digest FROM secret").fetchone()
        statement = "SELECT 1 FROM entries WHERE expires >= ? LIMIT 1"
        an_entry = connection.execute(statement, (now.timestamp(),)).fetchone()
        if kept is not None and kept[0] not in accepted and an_entry is not None:
            raise sqlite3.DatabaseError("its keys are kept under another secret, which has to be the former one now")
        connection.execute("INSERT OR REPLACE INTO secret VALUES (1, ?)", (accepted[0],))


def find_entry(connection: sqlite3.Connection, key: bytes, now: datetime) -> JournalEntry | None:
    """The entry of a key that is not past its time."""
    statement = "SELECT body FROM entries WHERE key = ? AND expires >= ?"
    row = connection.execute(statement, (key, now.timestamp())).fetchone()
    return None if row is None else decoded(row[0])


def put_entry(connection: sqlite3.Connection, entry: JournalEntry) -> None:
    """Write an entry, in place of the one that its key has."""
    when = _time_of(entry)
    connection.execute(
        "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.key,
            entry.owner,
            entry.state,
            entry.expires_at.timestamp(),
            encoded(entry),
            _text(entry.care_unit if entry.wish is None else entry.wish.timeslot.care_unit),
            None if entry.wish is None else entry.wish.resource,
            None if when is None else when.start.timestamp(),
            None if when is None else when.end.timestamp(),
            None if entry.sent_at is None else entry.sent_at.timestamp(),
        ),
    )
    appointment = _appointment_of(entry)
    if appointment is not None:
        connection.execute("DELETE FROM outcomes WHERE key = ?", (entry.key,))
        values = _text(appointment.care_unit), appointment.leyr_id, entry.key
        connection.execute("INSERT INTO outcomes (care_unit, appointment, key) VALUES (?, ?, ?)", values)


def remove_entry(connection: sqlite3.Connection, key: bytes) -> None:
    """Forget a key."""
    connection.execute("DELETE FROM outcomes WHERE key = ?", (key,))
    connection.execute("DELETE FROM entries WHERE key = ?", (key,))


def remove_expired(connection: sqlite3.Connection, now: datetime) -> None:
    """Forget some of what is past its time."""
    before = now.timestamp(), _REMOVED_AT_ONCE
    for (key,) in connection.execute("SELECT key FROM entries WHERE expires < ? LIMIT ?", before).fetchall():
        remove_entry(connection, key)
    connection.execute("DELETE FROM holds WHERE until < ?", before[:1])
    expired = "SELECT appointment FROM attempts WHERE expires < ? LIMIT ?"
    connection.execute(f"DELETE FROM attempts WHERE appointment IN ({expired})", before)  # noqa: S608 # the text from above


def put_hold(
    connection: sqlite3.Connection,
    hold: Hold,
    owner: str,
    now: datetime,
    is_void: Callable[[sqlite3.Connection, bytes, str], bool],
) -> bool:
    """Hold something for a key; False where another key's hold meets it that `is_void` does not say of."""
    statement = "SELECT * FROM holds WHERE care_unit = ? AND key != ? AND until >= ?"
    others = connection.execute(statement, (_text(hold.care_unit), hold.key, now.timestamp()))
    for row in others.fetchall():
        if _read_hold(hold.care_unit, row).meets(hold) and not is_void(connection, row[0], row[1]):
            return False
    when = hold.when
    values = (
        *(hold.key, owner, hold.until.timestamp(), _text(hold.care_unit), hold.resource),
        None if when is None else when.start.timestamp(),
        None if when is None else when.end.timestamp(),
        hold.appointment,
    )
    connection.execute("INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    return True


def unsettled_entries(connection: sqlite3.Connection, hold: Hold, now: datetime) -> Sequence[JournalEntry]:
    """The entries of other keys, SENT or UNKNOWN, whose wish meets a hold: the latest hundred."""
    if hold.when is None:
        return ()
    statement = f"SELECT body FROM entries WHERE state IN ('sent', 'unknown') AND {_MEETS} ORDER BY sent DESC LIMIT ?"  # noqa: S608 # the text from below
    found = connection.execute(statement, (*_meeting(hold, hold.when, now), _MOST_UNSETTLED))
    return [decoded(body) for (body,) in found.fetchall()]


def has_entry_at(connection: sqlite3.Connection, hold: Hold, now: datetime) -> bool:
    """Whether there is an entry of another key, for which a call was made or is about to, whose wish meets a hold."""
    if hold.when is None:
        return False
    statement = f"SELECT 1 FROM entries WHERE state != 'claimed' AND {_MEETS} LIMIT 1"  # noqa: S608 # as above
    return connection.execute(statement, _meeting(hold, hold.when, now)).fetchone() is not None


_MEETS = (
    "care_unit = ? AND ends > ? AND starts < ? AND key != ? AND expires >= ? "
    "AND (? IS NULL OR resource IS NULL OR resource = ?)"
)


def _meeting(hold: Hold, when: TimeRange, now: datetime) -> tuple[object, ...]:
    window = when.start.timestamp(), when.end.timestamp()
    return _text(hold.care_unit), *window, hold.key, now.timestamp(), hold.resource, hold.resource


def appointments_of(
    connection: sqlite3.Connection, care_unit: CareUnitKey, appointments: Collection[str], now: datetime
) -> Mapping[str, Appointment]:
    """Those of some appointments that the outcomes of keys hold, as the latest of them has each."""
    found: dict[str, Appointment] = {}
    asked = list(dict.fromkeys(appointments))
    for first in range(0, len(asked), _ASKED_AT_ONCE):
        some = asked[first : first + _ASKED_AT_ONCE]
        marks = ", ".join("?" * len(some))
        statement = (
            "SELECT body FROM outcomes JOIN entries USING (key) WHERE outcomes.care_unit = ? AND expires >= ? "  # noqa: S608 # nothing but marks is put in
            f"AND outcomes.appointment IN ({marks}) ORDER BY number"
        )
        for (body,) in connection.execute(statement, (_text(care_unit), now.timestamp(), *some)).fetchall():
            appointment = _appointment_of(decoded(body))
            if appointment is not None:
                found[appointment.leyr_id] = appointment
    return found


def _appointment_of(entry: JournalEntry) -> Appointment | None:
    if entry.state is JournalState.DONE and isinstance(entry.outcome, Booked | AwaitingConfirmation | Cancelled):
        return entry.outcome.appointment
    return None


def _time_of(entry: JournalEntry) -> TimeRange | None:
    if entry.wish is None:
        return None
    return TimeRange.of(entry.wish.timeslot.start, entry.wish.timeslot.end)


def _read_hold(care_unit: CareUnitKey, row: tuple[Any, ...]) -> Hold:
    key, _, until, _, resource, starts, ends, appointment = row
    when = None
    if starts is not None:
        when = TimeRange(datetime.fromtimestamp(starts, UTC), datetime.fromtimestamp(ends, UTC))
    return Hold(key, care_unit, datetime.fromtimestamp(until, UTC), resource, when, appointment)


def _text(care_unit: CareUnitKey) -> str:
    """A care unit as one text that no other gives."""
    return f"{len(care_unit.emr)}:{care_unit.emr}{care_unit.care_unit}"
