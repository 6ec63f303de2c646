-- Writes one change of the feed: new requests, new entries, and the head that counts them.
-- KEYS: head, requests, entries, order of the entries.
-- ARGV: first the position of the feed before this call: the generation, the number of the newest
-- entry, the number of requests. Then the change: the new head, the number of the newest entry
-- after this call, the lifetime in milliseconds, the number of new requests, these requests, the
-- name and content of each new entry. If the newest entry has the number n, the new entries get
-- n + 1, n + 2, and so on.
-- Returns 1. If the feed is not at the position in ARGV, returns 0 and changes nothing.
local at = redis.call('HMGET', KEYS[1], 'generation', 'seq')
if at[1] ~= ARGV[1] or at[2] ~= ARGV[2] or redis.call('LLEN', KEYS[2]) ~= tonumber(ARGV[3]) then
  return 0
end
local requests = tonumber(ARGV[7])
for i = 8, 7 + requests do
  redis.call('RPUSH', KEYS[2], ARGV[i])
end
local seq = tonumber(ARGV[2])
for i = 8 + requests, #ARGV, 2 do
  seq = seq + 1
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[4], seq, ARGV[i])
end
redis.call('HSET', KEYS[1], 'head', ARGV[4], 'seq', ARGV[5])
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[6])
end
return 1
