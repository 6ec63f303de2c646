-- Forgets tickets whose verdicts are committed.
-- KEYS: see term.lua; only the queue is used. ARGV: id and token of each ticket, by rising ids.
-- Returns how many were there.
-- It may never: forget a ticket with another token, as ids can repeat after a failover; trim the queue beyond what is acknowledged here.
if not is_type(KEYS[5], 'stream', false) then
  return 0
end
local count = #ARGV / 2
local meant = {}
for i = 1, #ARGV, 2 do
  meant[ARGV[i]] = ARGV[i + 1]
end
local ids = {}
local function compare(entry)
  local is_meant = entry and string.match(entry[2][2], '^%d+ %d+ %d+ (%d+) ') == meant[entry[1]]
  if is_meant then
    ids[#ids + 1] = entry[1]
  end
  return is_meant
end

-- Mostly they are the oldest of the queue, all of them: then one look finds them, and one cut removes them.
local last = ARGV[#ARGV - 1]
local oldest = redis.call('XRANGE', KEYS[5], '-', last, 'COUNT', count + 1)
local is_head = #oldest > 0
for _, entry in ipairs(oldest) do
  is_head = is_head and compare(entry)
end
if not is_head then
  ids = {}
  for i = 1, #ARGV, 2 do
    compare(redis.call('XRANGE', KEYS[5], ARGV[i], ARGV[i])[1])
  end
end
if #ids == 0 then
  return 0
end
-- Before they go, which cannot be refused once this was done; without the group there is nothing to say here.
redis.pcall('XACK', KEYS[5], GROUP, unpack(ids))
if is_head then
  local epoch, n = string.match(last, '^(%d+)-(%d+)$')
  redis.call('XTRIM', KEYS[5], 'MINID', '=', epoch .. '-' .. digits(tonumber(n) + 1))
else
  redis.call('XDEL', KEYS[5], unpack(ids))
end
return #ids
