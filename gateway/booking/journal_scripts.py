"""What the journal in the shared store does there: each script is atomic over all processes, and may be run again.

All keys begin with that of KEYS[1]. `meta` says which journal it is, under which secret its keys are kept, and until
when nothing new is taken since something was lost; `process:` holds a process's generation and the number of its
writes, `alive:` is there while a process lives; `entry:` is an entry, with what has to be compared beside what is
sealed; `times:` are the entries of a care unit by when their times end, `outcome:` those about an appointment, `holds:`
what is held at a care unit and `held:` where a key holds something; `attempts:` counts wrong codes.
"""

from gateway.shared_store.script import Script

DAY_MS = 86_400_000

# ARGV[1..5] of all but OPEN and LOOK: the journal, the process, its generation, the time of day in ms, and the secrets
# that it accepts.
_COMMON = """\
local base, owner, now = KEYS[1], ARGV[2], tonumber(ARGV[4])
local meta = redis.call('HMGET', base .. 'meta', 'epoch', 'secret', 'until', 'lost')
if meta[1] ~= ARGV[1] then return {'another'} end
if not string.find(ARGV[5], meta[2], 1, true) then return {'secret'} end
local is_held_back = (tonumber(meta[3]) or 0) > now
local function entry_of(name)
  local found = redis.call('HMGET', base .. 'entry:' .. name, 'o', 's', 'e', 't', 'v', 'c')
  if found[5] and tonumber(found[3]) >= now then return found end
  return nil
end
local function is_alive(name)
  return name == owner or redis.call('EXISTS', base .. 'alive:' .. name) == 1
end
"""
_WRITES = (
    _COMMON
    + """\
local own = base .. 'process:' .. owner
-- What was sent over an earlier connection comes too late.
if redis.call('HGET', own, 'g') ~= ARGV[3] then return {'stale'} end
local function done(result)
  return {'ok', redis.call('HINCRBY', own, 'n', 1), result}
end
-- The clocks of machines differ: each decides by its own, and a minute later it is removed.
local function longest(ends)
  return math.max(0, tonumber(ends) - now) + 60000
end
local function lengthen(key, ms)
  local left = redis.call('PTTL', key)
  if left < ms then redis.call('PEXPIRE', key, string.format('%.0f', ms)) end
end
local function drop_hold(name)
  local unit = redis.call('GET', base .. 'held:' .. name)
  if unit then
    redis.call('HDEL', base .. 'holds:' .. unit, name)
    redis.call('DEL', base .. 'held:' .. name)
  end
end
local function unlist(name, unit, appointment)
  local old = redis.call('HMGET', base .. 'entry:' .. name, 'u', 'a')
  if old[1] and old[1] ~= '' and old[1] ~= unit then redis.call('ZREM', base .. 'times:' .. old[1], name) end
  if old[2] and old[2] ~= '' and old[2] ~= appointment then redis.call('ZREM', base .. 'outcome:' .. old[2], name) end
end
-- ARGV from `at`: name, state, ms of its end, whether a call was sent, care unit, resource, begin and end of the time,
-- appointment of the outcome, token of the request, sealed entry.
local function put(at)
  local name, state, ends = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local unit, appointment = ARGV[at + 4], ARGV[at + 8]
  local key, sent, sender = base .. 'entry:' .. name, '', ''
  if state == 'sent' then
    local time = redis.call('TIME')
    sent = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
    sender = owner
  elseif ARGV[at + 3] == '1' then
    local old = redis.call('HMGET', key, 't', 'w')
    sent, sender = old[1] or '', old[2] or ''
  end
  unlist(name, unit, appointment)
  redis.call('HSET', key, 'o', owner, 's', state, 'e', ends, 't', sent, 'w', sender, 'u', unit, 'r', ARGV[at + 5],
    'b', ARGV[at + 6], 'f', ARGV[at + 7], 'a', appointment, 'c', ARGV[at + 9], 'v', ARGV[at + 10])
  local ms = longest(ends)
  redis.call('PEXPIRE', key, string.format('%.0f', ms))
  if unit ~= '' then
    local times = base .. 'times:' .. unit
    redis.call('ZADD', times, ARGV[at + 7], name)
    redis.call('ZREMRANGEBYSCORE', times, '-inf', string.format('%.0f', now - 2 * DAY))
    lengthen(times, ms)
  end
  if appointment ~= '' then
    local outcomes = base .. 'outcome:' .. appointment
    redis.call('ZADD', outcomes, redis.call('HINCRBY', base .. 'meta', 'outcomes', 1), name)
    lengthen(outcomes, ms)
  end
  if (tonumber(redis.call('HGET', base .. 'meta', 'last')) or 0) < tonumber(ends) then
    redis.call('HSET', base .. 'meta', 'last', ends)
  end
end
""".replace("DAY", str(DAY_MS))
)

# ARGV: the current secret, what is kept, sealed under it.
RENEW_SECRET = Script(
    _WRITES
    + """\
redis.call('HSET', base .. 'meta', 'secret', ARGV[6], 'kept', ARGV[7])
return {'ok', 0, 1}
"""
)

# ARGV: ms that a life lasts, ms that the process is remembered.
RENEW = Script(
    _WRITES
    + """\
redis.call('SET', base .. 'alive:' .. owner, '1', 'PX', ARGV[6])
redis.call('PEXPIRE', own, ARGV[7])
return {'ok', 0, 1}
"""
)

LEAVE = Script(
    _WRITES
    + """\
redis.call('DEL', base .. 'alive:' .. owner, own)
return {'ok', 0, 1}
"""
)

# ARGV: the entry. Gives the one that is there.
CLAIM = Script(
    _WRITES
    + """\
if is_held_back then return {'lost'} end
local kept = entry_of(ARGV[6])
if kept then
  if kept[1] == owner and kept[6] == ARGV[15] then return {'ok', 0, false} end
  return {'ok', 0, {kept[1], kept[2], kept[4], kept[5]}}
end
put(6)
return done(false)
"""
)

# ARGV: the entry, the owner and the state that it had. One that is UNKNOWN, or whose owner is dead, changes hands.
TAKE_OVER = Script(
    _WRITES
    + """\
local kept = entry_of(ARGV[6])
if not kept or kept[1] ~= ARGV[17] or kept[2] ~= ARGV[18] then
  return {'ok', 0, (kept and kept[1] == owner and kept[6] == ARGV[15]) and 1 or 0}
end
if kept[1] ~= owner and kept[2] ~= 'unknown' and is_alive(kept[1]) then return {'ok', 0, 0} end
if is_held_back and ARGV[7] == 'claimed' then return {'lost'} end
put(6)
return done(1)
"""
)

# ARGV: the entry, whether its hold is needed, ms that a life lasts, whether it was written before and may be lost.
# What became of a call is written also where the store has lost the entry, since nobody else has it, and by whoever
# sent it where others only know that it was sent.
WRITE = Script(
    _WRITES
    + """\
local kept, state = entry_of(ARGV[6]), ARGV[7]
local was_lost = ARGV[19] == '1'
local rank = {claimed = 1, sent = 2, unknown = 3, done = 4}
if was_lost and kept and rank[kept[2]] >= rank[state] then return {'ok', 0, 0} end
local may_be_new = state == 'done' or state == 'unknown' or (state == 'sent' and was_lost)
if not kept and (not may_be_new or tonumber(ARGV[8]) < now) then return {'ok', 0, 0} end
if kept and kept[1] ~= owner then
  local sender = redis.call('HGET', base .. 'entry:' .. ARGV[6], 'w')
  if state ~= 'done' or kept[2] ~= 'unknown' or sender ~= owner then return {'ok', 0, 0} end
end
if state == 'sent' and not was_lost then
  if is_held_back then return {'lost'} end
  if ARGV[17] == '1' then
    local unit = redis.call('GET', base .. 'held:' .. ARGV[6])
    if not unit or redis.call('HEXISTS', base .. 'holds:' .. unit, ARGV[6]) == 0 then return {'ok', 0, 0} end
  end
  redis.call('SET', base .. 'alive:' .. owner, '1', 'PX', ARGV[18])
end
put(6)
if state == 'done' then drop_hold(ARGV[6]) end
return done(1)
"""
)

# ARGV: the name of an entry.
RELEASE = Script(
    _WRITES
    + """\
local kept = entry_of(ARGV[6])
if not kept or kept[1] ~= owner or kept[2] ~= 'claimed' then return {'ok', 0, 0} end
unlist(ARGV[6], '', '')
redis.call('DEL', base .. 'entry:' .. ARGV[6])
drop_hold(ARGV[6])
return done(1)
"""
)

# ARGV: name, ms until when, care unit, resource, begin and end of the time, appointment. A hold that is void is ended,
# so that its process, should it come back, finds that it holds nothing any more.
HOLD = Script(
    _WRITES
    + """\
if is_held_back then return {'lost'} end
local name, unit, resource, first, last, appointment = ARGV[6], ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
local holds = base .. 'holds:' .. unit
local function is_void(key, by)
  if is_alive(by) then return false end
  local kept = entry_of(key)
  return not kept or kept[2] == 'claimed' or kept[2] == 'done'
end
local function meets(its_resource, its_first, its_last, its_appointment)
  if appointment ~= '' and appointment == its_appointment then return true end
  if first == '' or its_first == '' then return false end
  if tonumber(first) >= tonumber(its_last) or tonumber(its_first) >= tonumber(last) then return false end
  return resource == '' or its_resource == '' or resource == its_resource
end
local all = redis.call('HGETALL', holds)
local void = {}
for i = 1, #all, 2 do
  local by, till, its_resource, its_first, its_last, its_appointment =
    string.match(all[i + 1], '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
  if all[i] ~= name then
    if tonumber(till) < now then
      table.insert(void, all[i])
    elseif meets(its_resource, its_first, its_last, its_appointment) then
      if not is_void(all[i], by) then return {'ok', 0, 0} end
      table.insert(void, all[i])
    end
  end
end
for _, each in ipairs(void) do drop_hold(each) end
drop_hold(name)
redis.call('HSET', holds, name, table.concat({owner, ARGV[7], resource, first, last, appointment}, '|'))
local ms = longest(ARGV[7])
redis.call('SET', base .. 'held:' .. name, unit, 'PX', string.format('%.0f', ms))
lengthen(holds, ms)
return done(1)
"""
)

# ARGV: the name of an entry.
LET_GO = Script(
    _WRITES
    + """\
drop_hold(ARGV[6])
return {'ok', 0, 1}
"""
)

# ARGV: the appointment's name, ms of the end, token of the request.
COUNT_ATTEMPT = Script(
    _WRITES
    + """\
local key = base .. 'attempts:' .. ARGV[6]
local found = redis.call('HMGET', key, 'n', 'e', 'c')
local number, ends = tonumber(found[1]) or 0, tonumber(found[2]) or 0
if ends < now then number = 0 end
if found[3] == ARGV[8] then return {'ok', 0, number} end
ends = math.max(ends, tonumber(ARGV[7]))
redis.call('HSET', key, 'n', number + 1, 'e', string.format('%.0f', ends), 'c', ARGV[8])
redis.call('PEXPIRE', key, string.format('%.0f', longest(ends)))
return done(number + 1)
"""
)

# ARGV: the appointment's name.
ATTEMPTS = Script(
    _COMMON
    + """\
local found = redis.call('HMGET', base .. 'attempts:' .. ARGV[6], 'n', 'e')
if not found[1] or tonumber(found[2]) < now then return {'ok', 0, 0} end
return {'ok', 0, tonumber(found[1])}
""",
    only_reads=True,
)

# ARGV: the name of an entry. After a loss nobody may be told that there is none.
FIND = Script(
    _COMMON
    + """\
local kept = entry_of(ARGV[6])
if not kept and is_held_back then return {'lost'} end
return {'ok', 0, kept and {kept[1], kept[2], kept[4], kept[5]} or false}
""",
    only_reads=True,
)

# ARGV: a process.
IS_ALIVE = Script(_COMMON + "return {'ok', 0, is_alive(ARGV[6]) and 1 or 0}", only_reads=True)

_MEETING = """\
local unit, name, first, last, resource = ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
-- No time is longer than a day.
local names = redis.call('ZRANGEBYSCORE', base .. 'times:' .. unit, '(' .. ARGV[8], string.format('%.0f', last + DAY))
local function meeting(each)
  if each == name then return nil end
  local kept = entry_of(each)
  if not kept then return nil end
  local its = redis.call('HMGET', base .. 'entry:' .. each, 'b', 'f', 'r')
  if tonumber(its[1]) >= last or tonumber(its[2]) <= first then return nil end
  if resource ~= '' and its[3] ~= '' and resource ~= its[3] then return nil end
  return kept
end
""".replace("DAY", str(DAY_MS))

# ARGV: care unit, name of the entry that asks, begin and end of a time, resource, how many at most.
UNSETTLED = Script(
    _COMMON
    + _MEETING
    + """\
local found = {}
for _, each in ipairs(names) do
  local kept = meeting(each)
  if kept and (kept[2] == 'sent' or kept[2] == 'unknown') then
    table.insert(found, {kept[1], kept[2], kept[4], kept[5], each})
  end
end
table.sort(found, function(one, other) return (tonumber(one[3]) or 0) > (tonumber(other[3]) or 0) end)
while #found > tonumber(ARGV[11]) do table.remove(found) end
return {'ok', 0, found}
""",
    only_reads=True,
)

# ARGV: as above, ms for which every time may have been asked for after a loss.
WAS_ASKED = Script(
    _COMMON
    + _MEETING
    + """\
if (tonumber(meta[4]) or -tonumber(ARGV[11])) + tonumber(ARGV[11]) > now then return {'ok', 0, 1} end
for _, each in ipairs(names) do
  local kept = meeting(each)
  if kept and kept[2] ~= 'claimed' then return {'ok', 0, 1} end
end
return {'ok', 0, 0}
""",
    only_reads=True,
)

# ARGV: appointments. Gives the latest entry that is done of each, as far as there is one.
KNOWN = Script(
    _COMMON
    + """\
local found = {}
for i = 6, #ARGV do
  for _, name in ipairs(redis.call('ZREVRANGE', base .. 'outcome:' .. ARGV[i], 0, 99)) do
    local kept = entry_of(name)
    if kept and kept[2] == 'done' then
      table.insert(found, {kept[1], kept[2], kept[4], kept[5], name})
      break
    end
  end
end
return {'ok', 0, found}
""",
    only_reads=True,
)
