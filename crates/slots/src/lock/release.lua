-- Releases a lock for its owner.
-- KEYS: lock. ARGV: owner's token.
-- Returns 1, or 0 without any effect when the lock does not belong to this owner.
-- Must never release another owner's lock.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
