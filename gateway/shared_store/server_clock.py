"""The server's clock beside this process's: what all processes of a fleet measure ages with."""

from math import inf

_MICROSECONDS = 1_000_000
# Clocks drift apart by less than this share, and a server's may be set: then what was known is of no use.
_DRIFT = 1e-4
_JUMP_SECONDS = 0.5


class ServerClock:
    """How far the server's clock is ahead of a monotonic one, from the times at which it answered.

    Each answer says that the server's time lay between sending and receiving; all of them together say more.
    """

    def __init__(self) -> None:
        self._least, self._most = -inf, inf
        self._noted_at = 0.0
        self._offset = 0.0
        self.is_known = False

    def note(self, sent: float, received: float, server_time: int) -> None:
        """Take an answer into account; times are this process's seconds and the server's microseconds."""
        seconds = server_time / _MICROSECONDS
        least, most = seconds - received, seconds - sent
        drift = max(0.0, received - self._noted_at) * _DRIFT
        self._noted_at = received
        if least > self._most + _JUMP_SECONDS or most < self._least - _JUMP_SECONDS or not self.is_known:
            self._least, self._most = least, most
            self._offset, self.is_known = (least + most) / 2, True
            return
        self._least = max(self._least - drift, least)
        self._most = min(self._most + drift, most)
        if self._least > self._most:
            self._least, self._most = least, most
        # It stays as it is as long as it may be right, so that an instant is written in one way.
        if not self._least <= self._offset <= self._most:
            self._offset = (self._least + self._most) / 2

    def to_server(self, seconds: float) -> int:
        """The server's time, in microseconds, at a time of this process's clock."""
        return round((seconds + self._offset) * _MICROSECONDS)

    def to_local(self, server_time: int) -> float:
        """This process's time, in seconds, at a time of the server."""
        return server_time / _MICROSECONDS - self._offset
