-- Takes a lock that is free.
-- KEYS: lock, fence. ARGV: the owner's token, milliseconds of the lease.
-- Returns nothing if the lock has an owner. Otherwise returns the fencing number, which is greater
-- than every earlier number.
-- The number is at least the server's time in microseconds, so it grows even after a memory loss.
-- The script must never change a lock that has an owner.
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return false
end
local now = redis.call('TIME')
local fence = math.max((tonumber(redis.call('GET', KEYS[2]) or '0') or 0) + 1, now[1] * 1000000 + now[2])
redis.call('SET', KEYS[2], string.format('%.0f', fence))
return fence
