-- Releases a lock only if it still belongs to its owner. KEYS[1]: the lock. ARGV[1]: the owner's
-- token.
-- Returns 1 if it was released, and 0 otherwise.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
