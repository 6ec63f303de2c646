-- Returns the state of the slot.
-- KEYS: see term.lua. ARGV: none.
-- Returns {} if the slot has no epoch, else {grant, epoch, a, b, active, mark, applied, n, tickets
-- queued, stopped, requests remembered, recalls remembered}.
-- The script must never write.
local term = read_term()
if not term then
  return {}
end
return { term.grant, term.epoch, term.a, term.b, term.active, term.mark, term.applied, term.n, redis.call('XLEN', KEYS[5]), term.stopped,
  redis.call('HLEN', KEYS[2]), redis.call('HLEN', KEYS[4]) }
