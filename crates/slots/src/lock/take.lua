-- Takes a lock that nobody has.
-- KEYS: lock, fence. ARGV: owner's token, milliseconds that it lives.
-- Returns the fencing number, greater than every one before it, or nothing when somebody has the lock.
-- The number goes on from the server's clock, so that it grows also past a loss of this server's memory.
-- Must never touch a lock that somebody has.
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return false
end
local now = redis.call('TIME')
local fence = math.max((tonumber(redis.call('GET', KEYS[2]) or '0') or 0) + 1, now[1] * 1000000 + now[2])
redis.call('SET', KEYS[2], string.format('%.0f', fence))
return fence
