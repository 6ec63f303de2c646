-- Records that an edge lives. KEYS: the hash of edges. ARGV: the edge, what it says about itself,
-- the lifetime in milliseconds, the most edges. At the bound all edges are forgotten; those that
-- live come back.
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
