-- Moves every unit of all partitions into the first partition, at the end of a sale. While the pool
-- has enough units, nothing moves: the scheduler is about to refill a partition.
-- KEYS: the partitions, and then the pool.
-- ARGV: the number of units that a buyer wants.
-- Returns the number of units in the pool, or in the first partition.
local sum = tonumber(redis.call('GET', KEYS[#KEYS])) or 0
if sum >= tonumber(ARGV[1]) then
  return sum
end
redis.call('SET', KEYS[#KEYS], 0)
for p = 1, #KEYS - 1 do
  for _, domain in ipairs({ 'a', 'b' }) do
    sum = sum + (tonumber(redis.call('HGET', KEYS[p], domain)) or 0)
    redis.call('HSET', KEYS[p], domain, 0)
  end
end
redis.call('HSET', KEYS[1], 'active', 'a', 'a', sum)
return sum
