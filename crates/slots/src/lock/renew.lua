-- Renews a lock for its owner. If the given fencing number is greater than this server's number,
-- the server stores the given number. This number may come from another server.
-- KEYS: lock, fence. ARGV: the owner's token, milliseconds of the new lease, fencing number.
-- Returns 1 if the lock belonged to this owner. Otherwise returns 0 and changes nothing.
-- The script must never renew another owner's lock or restore a lost lock.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if (tonumber(redis.call('GET', KEYS[2]) or '0') or 0) < tonumber(ARGV[3]) then
  redis.call('SET', KEYS[2], ARGV[3])
end
return 1
