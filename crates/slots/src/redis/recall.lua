-- Takes units out of a slot, from the inactive counter first, and remembers the number of units
-- under the recall's id.
-- KEYS: see term.lua. ARGV: id, grant, epoch, largest number of units to take, largest number of
-- remembered recalls.
-- Returns {taken}: the units that this call, or an earlier call with the same id, took. Returns {}
-- if the slot refuses the recall, which then stays pending in the store.
-- The script must never take units twice under one id, or from another grant or epoch.
local epoch, units, recalls_max = whole(ARGV[3]), whole(ARGV[4]), whole(ARGV[5])
if not epoch or not units or not recalls_max then
  return redis.error_reply('DOORBUSTER recall: a value is out of range')
end
local term = read_term()
if not term or term.grant ~= ARGV[2] or term.epoch ~= epoch then
  return {}
end
local before = redis.call('HGET', KEYS[4], ARGV[1])
if before then
  local taken = whole(before)
  return taken and { taken } or {}
end
if redis.call('HLEN', KEYS[4]) >= recalls_max then
  return {}
end
local lacks = units
for _, counter in ipairs({ term.active == 'a' and 'b' or 'a', term.active }) do
  local some = math.min(lacks, term[counter])
  term[counter] = term[counter] - some
  lacks = lacks - some
end
redis.call('HSET', KEYS[1], 'a', digits(term.a), 'b', digits(term.b))
redis.call('HSET', KEYS[4], ARGV[1], digits(units - lacks))
return { units - lacks }
