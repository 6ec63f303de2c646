-- The classic script that deducts units before the order exists. It uses two fields of one hash,
-- and stores no buyer, no request key, no limit and no order.
-- KEYS[1]: the hash with the fields Total and Booked. ARGV[1]: the requested units.
-- Returns the booked units: all requested units, or 0 if Total does not suffice.
local n = tonumber(ARGV[1])
if not n or n == 0 then
  return 0
end
local counts = redis.call('HMGET', KEYS[1], 'Total', 'Booked')
local total = tonumber(counts[1])
local booked = tonumber(counts[2])
if not total or not booked then
  return 0
end
if booked + n <= total then
  redis.call('HINCRBY', KEYS[1], 'Booked', n)
  return n
end
return 0
