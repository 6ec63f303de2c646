-- Releases a lock for its owner.
-- KEYS: lock. ARGV: owner's token.
-- Returns 1, or 0 when the lock is not this owner's: then nothing was done.
-- Must never release a lock that is not this owner's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
