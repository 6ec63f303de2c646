-- Books units in the active sub-domain of one partition and writes a detail record.
-- KEYS[1]: the partition, a hash. Its fields a and b have the units of the two sub-domains, and its
-- field active has the letter of the active sub-domain. KEYS[2]: the set of buyers with an order.
-- KEYS[3]: the list of details, each in the form buyer:units:partition:domain.
-- ARGV[1]: the buyer. ARGV[2]: the number of units. ARGV[3]: the number of the partition.
-- Returns 1 if the buyer now has units, and 0 if the active sub-domain has too few units.
if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then
  return 1
end
local active = redis.call('HGET', KEYS[1], 'active')
local n = tonumber(ARGV[2])
if not active or tonumber(redis.call('HGET', KEYS[1], active)) < n then
  return 0
end
redis.call('HINCRBY', KEYS[1], active, -n)
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('RPUSH', KEYS[3], table.concat({ ARGV[1], ARGV[2], ARGV[3], active }, ':'))
return 1
