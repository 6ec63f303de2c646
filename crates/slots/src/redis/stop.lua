-- Stops a slot, or lets it issue tickets again.
-- KEYS: see term.lua. ARGV: 1 or 0.
-- Returns 1; 0 when the slot has no epoch, because it issues no tickets then.
-- Must never change anything else.
if not flag(ARGV[1]) then
  return redis.error_reply('DOORBUSTER stop: a value is out of range')
end
if not read_term() then
  return 0
end
redis.call('HSET', KEYS[1], 'stopped', ARGV[1])
return 1
