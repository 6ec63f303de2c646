-- Renews a lock for its owner. Raises this server's fencing number to the given number, if that is
-- greater. The given number may come from another server.
-- KEYS: lock, fence. ARGV: the owner's token, milliseconds of the new lease, fencing number.
-- Returns 1. If the lock does not belong to this owner, returns 0 and changes nothing.
-- The script must never renew or restore another owner's lock.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if (tonumber(redis.call('GET', KEYS[2]) or '0') or 0) < tonumber(ARGV[3]) then
  redis.call('SET', KEYS[2], ARGV[3])
end
return 1
