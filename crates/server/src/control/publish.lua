-- Writes what the interception tier knows of a sale, for others to read, also from replicas.
-- KEYS: the sale's hash. ARGV: fencing number of the writer, milliseconds that it lives, then field and value, in pairs.
-- Returns 1, or 0 when a later writer was here: then nothing was done.
-- Must never be read by what decides of stock.
local last = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') or 0
if last > tonumber(ARGV[1]) then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'fence', ARGV[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
