-- Runs one step of the scheduler for one partition. If the active sub-domain has fewer units than
-- the threshold, refills the other sub-domain from the pool and makes it active. If the pool is
-- empty, moves the units of the other sub-domain into the active sub-domain.
-- KEYS[1]: the partition, a hash that also has the fields threshold and refill. KEYS[2]: the pool.
-- Returns the sum of the units in the partition and in the pool.
local active = redis.call('HGET', KEYS[1], 'active')
local threshold = tonumber(redis.call('HGET', KEYS[1], 'threshold'))
-- Redis may have restarted without its data. Then the partition does not exist, or it has only the
-- fields that sub_domains_gather.lua wrote.
if not active or not threshold then
  return 0
end
local other = active == 'a' and 'b' or 'a'
local left = tonumber(redis.call('HGET', KEYS[1], active))
local rest = tonumber(redis.call('HGET', KEYS[1], other))
local pool = tonumber(redis.call('GET', KEYS[2])) or 0
if left < threshold and pool > 0 then
  local refill = math.min(pool, tonumber(redis.call('HGET', KEYS[1], 'refill')))
  redis.call('DECRBY', KEYS[2], refill)
  redis.call('HINCRBY', KEYS[1], other, refill)
  redis.call('HSET', KEYS[1], 'active', other)
elseif pool == 0 and rest > 0 then
  redis.call('HINCRBY', KEYS[1], active, rest)
  redis.call('HSET', KEYS[1], other, 0)
end
return left + rest + pool
