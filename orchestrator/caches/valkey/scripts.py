"""What the server does in one step, in Lua: whatever a script has written, nobody sees half of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

OVERFLOW = "CRONIUM_OVERFLOW"


@dataclass(frozen=True, slots=True)
class Script:
    """A script by its text, and by the digest that the server knows it by."""

    text: str
    digest: str


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# Sums are read back as text: a number in Lua holds only 53 bits.
INCREMENT = _script("""
local made = redis.call('EXISTS', KEYS[1]) == 0
redis.call('INCRBY', KEYS[1], ARGV[1])
if made then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])
""")

HASH_SET = _script("""
local made = 0
for i = 2, #ARGV, 2 do made = made + redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return made
""")

HASH_INCREMENT = _script("""
redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('HGET', KEYS[1], ARGV[1])
""")

LIST_ADD = _script("""
local length = 0
for i = 3, #ARGV do length = redis.call(ARGV[1], KEYS[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return length
""")

# A script that fails is not undone, so everything that could fail is looked at before anything is written.
APPEND_TRIMMED = _script(f"""
redis.call('LLEN', KEYS[1])
redis.call('HLEN', KEYS[2])
for i = 4, #ARGV, 2 do
  local start = redis.call('HGET', KEYS[2], ARGV[i]) or '0'
  if not string.match(start, '^-?%d+$') then return redis.error_reply('ERR the count is not an integer') end
  if math.abs(tonumber(start) + tonumber(ARGV[i + 1])) >= 9007199254740992 then
    return redis.error_reply('ERR {OVERFLOW}')
  end
end
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], ARGV[2], -1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return redis.call('LLEN', KEYS[1])
""")

READ_TRIMMED = _script("""
return {redis.call('LRANGE', KEYS[1], 0, -1), redis.call('HGETALL', KEYS[2])}
""")

RELEASE = _script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")

EXTEND = _script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
