-- Runs one step of the scheduler for one partition: switches the sub-domains and refills from the
-- pool.
-- KEYS[1]: the partition, with its threshold and its refill. KEYS[2]: the pool.
-- If the pool is empty, merges the remaining units of both sub-domains.
-- Returns the number of units in the partition and the pool.
local active = redis.call('HGET', KEYS[1], 'active')
local threshold = tonumber(redis.call('HGET', KEYS[1], 'threshold'))
-- After Redis restarted empty, the partition is missing, or has only the fields that
-- sub_domains_gather.lua wrote.
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
