"""The server's clock beside this process's: what all processes of a fleet measure ages with."""

from math import inf

_MICROSECONDS = 1_000_000
# Clocks drift apart by less than this share, and a server's may be set.
_DRIFT = 1e-4
_JUMP_SECONDS = 0.5
_GRAIN = 2 / _MICROSECONDS
_MOST_SETBACKS = 16


class ServerClock:
    """How far the server's clock is ahead of a monotonic one, from the times at which it answered.

    Each answer says that the server's time lay between sending and receiving; all of them together say more. Where they
    contradict each other, the server's clock was set, or another server with another clock took over. If it was put
    back, a time up to the last of the former clock may be of either, and is taken for the earlier: what was kept then
    may be older than it says, and must not look younger than it is.
    """

    def __init__(self) -> None:
        self._least, self._most = -inf, inf
        self._noted_at = 0.0
        self._offset = 0.0
        # The last time of a former clock, and by how much it was put back then, in microseconds.
        self._setbacks: list[tuple[int, int]] = []
        self.is_known = False

    def note(self, sent: float, received: float, server_time: int) -> bool:
        """Take an answer into account, and say whether the server's clock was set by more than it may drift.

        Times are this process's seconds and the server's microseconds.
        """
        seconds = server_time / _MICROSECONDS
        # Its microseconds are whole ones, and a float of seconds since 1970 loses a quarter of one.
        least, most = seconds - received - _GRAIN, seconds - sent + _GRAIN
        drift = max(0.0, received - self._noted_at) * _DRIFT
        known_least, known_most = self._least - drift, self._most + drift
        self._noted_at = received
        if not self.is_known:
            self._least, self._most, self._offset, self.is_known = least, most, (least + most) / 2, True
            return False
        if least > known_most or most < known_least:
            return self._set_anew(least, most, received)
        self._least, self._most = max(known_least, least), min(known_most, most)
        # It stays as it is as long as it may be right, so that an instant is written in one way.
        if not self._least <= self._offset <= self._most:
            self._offset = (self._least + self._most) / 2
        return False

    def _set_anew(self, least: float, most: float, received: float) -> bool:
        former, self._offset = self._offset, (least + most) / 2
        distance = max(least - self._most, self._least - most)
        if self._offset < former:
            self._note_setback(received + self._most, self._most - least)
        self._least, self._most = least, most
        return distance > _JUMP_SECONDS

    def note_former(self, seconds: float, last: int, grain: float) -> bool:
        """Take a time that the server's clock had shown before a time of this process, and say whether it was put back.

        It may have shown so many seconds more before that.
        """
        by = last / _MICROSECONDS - (seconds + self._most)
        if by > 0:
            self._note_setback(last / _MICROSECONDS + grain, last / _MICROSECONDS - (seconds + self._least) + grain)
        return by > 0

    def _note_setback(self, last: float, by: float) -> None:
        """Remember the last time of the former clock and by how much it was put back, in the server's seconds."""
        self._setbacks.append((round(last * _MICROSECONDS), round(by * _MICROSECONDS)))
        if len(self._setbacks) > _MOST_SETBACKS:
            (first_last, first), (second_last, second), *others = self._setbacks
            self._setbacks = [(max(first_last, second_last), first + second), *others]

    def to_server(self, seconds: float) -> int:
        """The server's time, in microseconds, at a time of this process's clock."""
        return round((seconds + self._offset) * _MICROSECONDS)

    def to_local(self, server_time: int) -> float:
        """This process's time, in seconds, at a time of the server; the earliest that it can be."""
        for place, (last, _) in enumerate(self._setbacks):
            if server_time <= last:
                server_time -= sum(by for _, by in self._setbacks[place:])
                break
        return server_time / _MICROSECONDS - self._offset
