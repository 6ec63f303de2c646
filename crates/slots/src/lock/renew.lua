-- Renews a lock for its owner, and raises the fencing number to one that another server gave.
-- KEYS: lock, fence. ARGV: owner's token, milliseconds that it lives from now on, fencing number.
-- Returns 1, or 0 when the lock is not this owner's: then nothing was done.
-- Must never renew, or bring back, a lock that is not this owner's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if (tonumber(redis.call('GET', KEYS[2]) or '0') or 0) < tonumber(ARGV[3]) then
  redis.call('SET', KEYS[2], ARGV[3])
end
return 1
