-- Gives a slot a grant, if the grant's epoch is higher than the slot's epoch. Tickets of earlier
-- epochs stay in the queue.
-- KEYS: see term.lua. ARGV: grant, epoch, counted (0 or 1), available, threshold.
-- Returns {applied}: the slot's position in this grant's feed. Returns {} if the slot does not
-- accept the grant.
-- The script must never overwrite a slot of the same or a higher epoch, and never drop a readable
-- queue. An old message must never restore a retired slot.
local epoch, available, threshold = whole(ARGV[2]), whole(ARGV[4]), whole(ARGV[5])
if not epoch or not available or not threshold or not flag(ARGV[3]) then
  return redis.error_reply('DOORBUSTER init: a value is out of range')
end
local term, retired = read_term()
if term and epoch <= term.epoch then
  if term.grant == ARGV[1] and term.epoch == epoch then
    return { term.applied }
  end
  return {}
end
if retired and epoch <= retired then
  return {}
end
local has_queue = is_type(KEYS[5], 'stream', false)
local has_group = false
if has_queue then
  local info = redis.call('XINFO', 'STREAM', KEYS[5])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      -- The ids in a queue must rise. So if the queue has had entries of this epoch or a later one,
      -- Redis would refuse tickets of this epoch. This happens if Redis lost the term but not the
      -- queue.
      local last = whole(string.match(info[i + 1], '^(%d+)-'))
      if not last or epoch <= last then
        return {}
      end
    end
  end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[5])) do
    for i = 1, #group, 2 do
      has_group = has_group or (group[i] == 'name' and group[i + 1] == GROUP)
    end
  end
end
local stopped = term and term.stopped or 0
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
if not has_queue then
  redis.call('UNLINK', KEYS[5])
end
if not has_group then
  redis.call('XGROUP', 'CREATE', KEYS[5], GROUP, '0', 'MKSTREAM')
end
redis.call('HSET', KEYS[1], 'epoch', digits(epoch), 'grant', ARGV[1], 'counted', ARGV[3], 'a', digits(available), 'b', '0', 'active', 'a',
  'mark', '0', 'threshold', digits(threshold), 'applied', '0', 'n', '0', 'stopped', digits(stopped))
return { 0 }
