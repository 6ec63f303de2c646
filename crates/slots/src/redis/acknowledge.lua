-- Forgets tickets whose verdicts are committed.
-- KEYS: see term.lua; only the queue is used. ARGV: id and token of each ticket.
-- Returns how many were there.
-- It may never: forget a ticket with another token, as ids can repeat after a failover; trim the queue.
if not is_type(KEYS[5], 'stream', false) then
  return 0
end
local ids = {}
for i = 1, #ARGV, 2 do
  local entry = redis.call('XRANGE', KEYS[5], ARGV[i], ARGV[i])[1]
  if entry and string.match(entry[2][2], '^%d+ %d+ %d+ (%d+) ') == ARGV[i + 1] then
    ids[#ids + 1] = ARGV[i]
  end
end
if #ids == 0 then
  return 0
end
-- Before the deletion, which cannot be refused once this was done; without the group there is nothing to say here.
redis.pcall('XACK', KEYS[5], GROUP, unpack(ids))
redis.call('XDEL', KEYS[5], unpack(ids))
return #ids
