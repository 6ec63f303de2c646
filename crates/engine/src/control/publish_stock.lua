-- Writes the numbers of a sale that other programs read, on this server or on its replicas.
-- KEYS: the sale's hash.
-- ARGV: the writer's fencing number, the lifetime in milliseconds, then pairs of field and value.
-- Returns 1, or writes nothing and returns 0 if a later writer has written.
-- The numbers may be old, so code that decides about stock must never read this hash.
local last = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') or 0
if last > tonumber(ARGV[1]) then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'fence', ARGV[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
