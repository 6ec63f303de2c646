-- Records an edge's report about itself.
-- KEYS: the hash of edges.
-- ARGV: the edge, its report, the lifetime in milliseconds, the largest number of edges.
-- If the hash already has the largest number of edges, the script deletes all reports before it
-- records this one. Running edges report again soon.
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
