-- Reads the next part of the feed in one snapshot. The script writes nothing, so replicas can run
-- it too.
-- KEYS: head, requests, entries, order of the entries.
-- ARGV, the reader's position: the generation, the number of the newest change, the number of
-- requests.
-- ARGV, the limits: the largest numbers of requests and of entries to return.
-- Returns nothing if the feed has no head. Otherwise returns the generation, the head, 1 if the
-- part begins the generation (else 0), the requests, and each entry's number, name and content.
local at = redis.call('HMGET', KEYS[1], 'generation', 'head')
if not at[1] or not at[2] then
  return nil
end
local seq, from, begins = ARGV[2], tonumber(ARGV[3]), 0
if at[1] ~= ARGV[1] then
  seq, from, begins = '0', 0, 1
end
local requests = redis.call('LRANGE', KEYS[2], from, from + tonumber(ARGV[4]) - 1)
local order = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. seq, '+inf', 'WITHSCORES', 'LIMIT', 0,
  tonumber(ARGV[5]) + 1)
local entries = {}
for i = 1, #order, 2 do
  entries[#entries + 1] = order[i + 1]
  entries[#entries + 1] = order[i]
  entries[#entries + 1] = redis.call('HGET', KEYS[3], order[i]) or ''
end
return {at[1], at[2], begins, requests, entries}
