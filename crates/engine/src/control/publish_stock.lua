-- Writes the numbers of a sale. Other programs read the numbers on this server or on a replica.
-- KEYS: the sale's hash.
-- ARGV: the writer's fencing number, the lifetime in milliseconds, then pairs of field and value.
-- Returns 1. If a later writer has already written, writes nothing and returns 0.
-- The numbers may be old, so code that decides about stock must never read this hash.
local last = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') or 0
if last > tonumber(ARGV[1]) then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'fence', ARGV[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
