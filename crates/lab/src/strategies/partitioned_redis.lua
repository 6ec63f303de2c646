-- Books units in one partition, or in all given partitions together. If the partitions have enough
-- units together, takes the units from one partition after another.
-- KEYS: first, for each partition, the hash with the fields Total and Booked. Then, for each
-- partition, the orders: a hash from buyer to units.
-- ARGV[1]: the buyer. ARGV[2]: the number of units.
-- Returns 1 if the buyer has the units, now or from an earlier call. Returns 0 if too few units are
-- left.
local partitions = #KEYS / 2
local n = tonumber(ARGV[2])
local free = {}
local sum = 0
for p = 1, partitions do
  if redis.call('HEXISTS', KEYS[partitions + p], ARGV[1]) == 1 then
    return 1
  end
  local total = tonumber(redis.call('HGET', KEYS[p], 'Total')) or 0
  free[p] = total - (tonumber(redis.call('HGET', KEYS[p], 'Booked')) or 0)
  sum = sum + free[p]
end
if sum < n then
  return 0
end
for p = 1, partitions do
  local part = math.min(free[p], n)
  redis.call('HINCRBY', KEYS[p], 'Booked', part)
  n = n - part
end
redis.call('HSET', KEYS[partitions + 1], ARGV[1], ARGV[2])
return 1
