-- Begins a new generation of the feed, and deletes the previous generation. Readers ignore the new
-- generation until the head says that it is complete.
-- KEYS: head, requests, entries, order of the entries.
-- ARGV: the writer's fencing number, the generation, the lifetime in milliseconds.
-- Returns 1. If a writer with a higher fencing number has written, returns 0 and changes nothing.
-- Code that decides about stock must never read these keys.
local last = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') or 0
if last > tonumber(ARGV[1]) then
  return 0
end
-- A list can have millions of entries. UNLINK frees their memory in the background, so that no
-- ticket request waits for it.
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'generation', ARGV[2], 'seq', '0')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
