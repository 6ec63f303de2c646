-- Charges the requests that a node allowed to limits that all nodes share. One call charges a whole
-- batch.
--
-- KEYS: any number of limits' keys.
-- ARGV: two numbers for each key, the charge and the burst, both in microseconds of the limit's
-- rate.
-- Returns for each key how far its limit is ahead of the present, in microseconds.
--
-- A key holds an instant, by this server's clock in microseconds. At that instant all charges are
-- paid off at the limit's rate (doorbuster-core, gate/gcra.rs), and the key expires. The script
-- must never refuse, because the requests were already allowed. It keeps at most twice the burst,
-- so that no client waits longer than that.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local result = {}
for i, key in ipairs(KEYS) do
    local charge, reach = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local state = tonumber(redis.call('GET', key) or 0) or 0
    if state < now then
        state = now
    end
    state = math.min(state + charge, now + 2 * reach)
    local ahead = state - now
    if charge > 0 and ahead > 0 then
        redis.call('SET', key, string.format('%.0f', state), 'PX', math.max(1, math.ceil(ahead / 1000)))
    end
    result[i] = ahead
end
return result
