-- Keeps the newest database history that any node has used.
-- KEYS: the history's hash.
-- ARGV: the fencing number, the token and the timeline that a node knows. With the number 0, the
-- script only reads.
-- Returns the kept values, separated by spaces, or an empty text.
-- If two histories have the same number, the first one stays.
local kept = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') or 0
if tonumber(ARGV[1]) > kept then
  redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'token', ARGV[2], 'timeline', ARGV[3])
end
local row = redis.call('HMGET', KEYS[1], 'fence', 'token', 'timeline')
if not row[1] then
  return ''
end
return row[1] .. ' ' .. row[2] .. ' ' .. row[3]
