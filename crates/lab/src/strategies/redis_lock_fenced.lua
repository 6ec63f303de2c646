-- Takes a lock and gives it a new fencing token, in one step.
-- KEYS[1]: the lock. KEYS[2]: the counter of tokens. ARGV[1]: the lock's time in milliseconds.
-- Returns the token, or 0 if another holder has the lock.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token, 'PX', ARGV[1])
return token
