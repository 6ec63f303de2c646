-- Takes a lock that is free.
-- KEYS: lock, fence. ARGV: the owner's token, milliseconds of the lease.
-- Returns the fencing number, which is greater than every earlier number, or nothing if the lock
-- has an owner.
-- The number is at least the time of the server's clock, so it grows even after a loss of memory.
-- The script must never change a lock that has an owner.
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return false
end
local now = redis.call('TIME')
local fence = math.max((tonumber(redis.call('GET', KEYS[2]) or '0') or 0) + 1, now[1] * 1000000 + now[2])
redis.call('SET', KEYS[2], string.format('%.0f', fence))
return fence
