-- Releases a lock for its owner.
-- KEYS: lock. ARGV: the owner's token.
-- Returns 1 if the lock belonged to this owner. Otherwise returns 0 and changes nothing.
-- The script must never release another owner's lock.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
