-- Moves every unit of all partitions and of the pool into the first partition, for a buyer who
-- wants more units than a refill can bring. While the pool has enough units and a partition is
-- below its threshold, nothing moves: the scheduler is about to refill this partition.
-- KEYS: the partitions, and then the pool.
-- ARGV[1]: the number of units that the buyer wants.
-- Returns the number of units in the pool if nothing moved. Otherwise returns the number of units
-- in the first partition.
local pool = tonumber(redis.call('GET', KEYS[#KEYS])) or 0
local sum = pool
for p = 1, #KEYS - 1 do
  local active = redis.call('HGET', KEYS[p], 'active')
  local left = active and tonumber(redis.call('HGET', KEYS[p], active)) or 0
  local threshold = tonumber(redis.call('HGET', KEYS[p], 'threshold')) or 0
  if pool >= tonumber(ARGV[1]) and left < threshold then
    return pool
  end
  for _, domain in ipairs({ 'a', 'b' }) do
    sum = sum + (tonumber(redis.call('HGET', KEYS[p], domain)) or 0)
  end
end
redis.call('SET', KEYS[#KEYS], 0)
for p = 1, #KEYS - 1 do
  redis.call('HSET', KEYS[p], 'a', 0, 'b', 0)
end
redis.call('HSET', KEYS[1], 'active', 'a', 'a', sum)
return sum
