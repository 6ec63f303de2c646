-- Charges the requests that a node allowed to limits that all nodes share, and returns how far each
-- limit is ahead. One call for a whole batch.
--
-- KEYS: any number of limits' keys.
-- ARGV: for each key two numbers, the charge and the burst, both in microseconds of the limit's
--   rate.
-- Returns for each key how far it is ahead, in microseconds.
--
-- A key holds the instant, by this server's clock in microseconds, at which its limit has worked
-- off everything (doorbuster-core, gate/gcra.rs), and expires then. The script must never refuse,
-- because the requests were already allowed. It keeps at most twice the burst, so that no client
-- waits longer than that.

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
