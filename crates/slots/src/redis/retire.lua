-- Drops a slot whose grant is closed and whose queue is empty. The slot's epoch is kept for a
-- while, so that no old message restores the slot.
-- KEYS: see term.lua. ARGV: milliseconds for which the epoch is kept, epoch of the closed grant.
-- Returns 0 if tickets are queued or the slot has a newer grant. Otherwise only the slot's epoch is
-- left, and the script returns 1.
-- The script must never drop a ticket, nor a slot with a newer grant.
local closed = whole(ARGV[2])
if not whole(ARGV[1]) or not closed then
  return redis.error_reply('DOORBUSTER retire: a value is out of range')
end
if is_type(KEYS[5], 'stream', false) and redis.call('XLEN', KEYS[5]) > 0 then
  return 0
end
local term, retired = read_term()
if term and term.epoch > closed then
  return 0
end
if not term and retired then
  return 1
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
if term then
  redis.call('HSET', KEYS[1], 'epoch', digits(term.epoch))
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 1
