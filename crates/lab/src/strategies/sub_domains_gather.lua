-- Moves every unit of all partitions into one, at the end of a sale.
-- KEYS: the partitions, and then the pool. The first partition gets the units.
-- Returns the number of units.
local sum = tonumber(redis.call('GET', KEYS[#KEYS])) or 0
redis.call('SET', KEYS[#KEYS], 0)
for p = 1, #KEYS - 1 do
  for _, domain in ipairs({ 'a', 'b' }) do
    sum = sum + (tonumber(redis.call('HGET', KEYS[p], domain)) or 0)
    redis.call('HSET', KEYS[p], domain, 0)
  end
end
redis.call('HSET', KEYS[1], 'active', 'a', 'a', sum)
return sum
