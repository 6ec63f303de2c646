-- Renews a lock only if the lock still has the caller's token.
-- KEYS[1]: the lock. ARGV[1]: the caller's token. ARGV[2]: the new time in milliseconds.
-- Returns 1 if the lock was renewed, or 0 if it has ended or another owner has it.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
