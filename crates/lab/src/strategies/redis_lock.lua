-- Releases a lock only if the lock still has the caller's token.
-- KEYS[1]: the lock. ARGV[1]: the caller's token.
-- Returns 1 if the lock was released, and 0 otherwise.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
