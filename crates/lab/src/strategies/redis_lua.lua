-- Books units and writes the order, in one step.
-- KEYS[1]: the hash with the fields Total and Booked. A Total of -1 means that the stock is
-- unlimited. KEYS[2]: the orders, a hash from buyer to units.
-- ARGV[1]: the buyer. ARGV[2]: the number of units, which must be a positive integer.
-- If the buyer now has the units, returns how many units are left, or -1 if the stock is unlimited.
-- Otherwise returns -2 if too few units are left, or -3 for an unknown item.
local n = tonumber(ARGV[2])
if not n or n < 1 or n ~= math.floor(n) then
  return redis.error_reply('the number of units must be a positive integer')
end
local total = tonumber(redis.call('HGET', KEYS[1], 'Total'))
local booked = tonumber(redis.call('HGET', KEYS[1], 'Booked'))
if not total or not booked then
  return -3
end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then
  if total ~= -1 and booked + n > total then
    return -2
  end
  booked = redis.call('HINCRBY', KEYS[1], 'Booked', n)
  redis.call('HSET', KEYS[2], ARGV[1], n)
end
return total == -1 and -1 or total - booked
