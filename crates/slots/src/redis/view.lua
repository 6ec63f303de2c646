-- Returns the state of the slot.
-- KEYS: see term.lua. ARGV: none.
-- Returns {} if the slot has no epoch. Otherwise returns these fields of the term: grant, epoch, a,
-- b, active, mark, applied, n. Then follow the number of queued tickets, the field `stopped`, and
-- the numbers of remembered requests and recalls.
-- The script must never write.
local term = read_term()
if not term then
  return {}
end
return { term.grant, term.epoch, term.a, term.b, term.active, term.mark, term.applied, term.n, redis.call('XLEN', KEYS[5]), term.stopped,
  redis.call('HLEN', KEYS[2]), redis.call('HLEN', KEYS[4]) }
