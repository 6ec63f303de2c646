-- Keeps the newest database history that any node has used.
-- KEYS: the history's hash.
-- ARGV: the calling node's fencing number (0 if the node only reads), token, timeline, and
-- position in the write-ahead log.
-- Returns the kept values, separated by spaces, or an empty text if no history is kept.
-- If two histories have the same fencing number, the script keeps the history that came first.
local kept = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') or 0
if tonumber(ARGV[1]) > kept then
  redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'token', ARGV[2], 'timeline', ARGV[3],
    'position', '0')
end
local row = redis.call('HMGET', KEYS[1], 'fence', 'token', 'timeline', 'position')
if not row[1] then
  return ''
end
local position = tonumber(row[4] or '0') or 0
if row[2] == ARGV[2] and tonumber(ARGV[4]) > position then
  position = tonumber(ARGV[4])
  redis.call('HSET', KEYS[1], 'position', ARGV[4])
end
return row[1] .. ' ' .. row[2] .. ' ' .. row[3] .. ' ' .. string.format('%.0f', position)
