-- Removes tickets whose verdicts are committed.
-- KEYS: see term.lua. This script uses only the queue. ARGV: id and token of each ticket, lowest id
-- first.
-- Returns how many of the tickets were in the queue.
-- The script must never remove a ticket whose token differs from the argument, because ids can
-- repeat after a failover. The script must never trim the queue beyond the acknowledged tickets.
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

-- Usually the tickets are the oldest ones of the queue, without a gap. Then one read finds all of
-- them, and one trim removes them.
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
-- XACK is the first write. If Redis accepts XACK, Redis also accepts the removal. If the group does
-- not exist, there is nothing to acknowledge, so the error of XACK is ignored.
redis.pcall('XACK', KEYS[5], GROUP, unpack(ids))
if is_head then
  local epoch, n = string.match(last, '^(%d+)-(%d+)$')
  redis.call('XTRIM', KEYS[5], 'MINID', '=', epoch .. '-' .. digits(tonumber(n) + 1))
else
  redis.call('XDEL', KEYS[5], unpack(ids))
end
return #ids
