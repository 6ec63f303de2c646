-- Returns the last report of each edge about itself. KEYS: the hash of edges.
return redis.call('HVALS', KEYS[1])
