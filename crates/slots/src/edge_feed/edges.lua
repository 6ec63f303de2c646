-- Returns what each edge said about itself last. KEYS: the hash of edges.
return redis.call('HVALS', KEYS[1])
