-- Books units for a buyer. A repeated call for the same buyer books nothing.
-- KEYS[1]: the hash with the fields Total and Booked. KEYS[2]: the set of buyers with an order.
-- ARGV[1]: the buyer. ARGV[2]: the number of units.
-- Returns the number of units if the buyer now has the units. Otherwise returns 0 if too few units
-- are left, -2 for an invalid number of units, or -3 for an unknown item.
local n = tonumber(ARGV[2])
if not n or n < 1 or n ~= math.floor(n) then
  return -2
end
if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then
  return n
end
local total = tonumber(redis.call('HGET', KEYS[1], 'Total'))
local booked = tonumber(redis.call('HGET', KEYS[1], 'Booked'))
if not total or not booked then
  return -3
end
if booked + n > total then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'Booked', n)
redis.call('SADD', KEYS[2], ARGV[1])
return n
