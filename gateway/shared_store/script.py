"""Lua scripts, which the server runs as a whole: no other command comes between what one does."""

from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any, NamedTuple

# A reply is told from that to another command by the text that came with this one: a proxy may swap or lose some. So
# are errors within the script, which are caught here for that.
_WRAPPED = """\
local function body(KEYS, ARGV)
{source}
end
local echo = table.remove(ARGV)
local time = redis.call('TIME')
local done, value = pcall(body, KEYS, ARGV)
if type(value) == 'table' and value.err then done, value = false, value.err end
if value == nil then value = false end
return {{echo, time[1], time[2], done and 1 or 0, value}}
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script over KEYS and ARGV that ends with a return; one that `only_reads` also runs where writing fails."""

    source: str
    only_reads: bool = False
    text: str = field(init=False)
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        text = _WRAPPED.format(source=self.source)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "sha", sha1(text.encode()).hexdigest())  # noqa: S324 # the name that EVALSHA wants


class ScriptResult(NamedTuple):
    """What a script returned, and the server's clock when it ran, in microseconds since 1970.

    `sent` and `received` are this process's clock around it, in seconds.
    """

    value: Any
    server_time: int
    sent: float
    received: float
