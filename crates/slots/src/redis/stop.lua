-- Stops a slot, or lets it issue tickets again.
-- KEYS: see term.lua. ARGV: 1 or 0.
-- Returns 0 if the slot has no epoch. Such a slot issues no tickets anyway. Otherwise returns 1.
-- The script must change only the term's field `stopped`.
if not flag(ARGV[1]) then
  return redis.error_reply('DOORBUSTER stop: a value is out of range')
end
if not read_term() then
  return 0
end
redis.call('HSET', KEYS[1], 'stopped', ARGV[1])
return 1
