-- For a node, takes shares of rate limits, and counts the requests that the node allowed without a
-- share. One call can name many limits.
--
-- KEYS: any number of limits' keys.
-- ARGV: five numbers for each key: the used amount, the wanted share, the cost of a request, the
-- burst, and the reserved part of the burst. Each number is the time until the limit allows this
-- amount again. The cost is in nanoseconds, and the other numbers are in microseconds.
-- Returns two numbers for each key, both in microseconds: the time from now until the key's instant
-- (see below), and the granted share.
--
-- The value of a key is an instant, by this server's clock in microseconds. At that instant, the
-- limit allows its whole burst again, and the key expires. The rule is LimitCall::apply in
-- doorbuster-core, gate/shared_limit.rs. A test compares this script with that function.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local result = {}
for i, key in ipairs(KEYS) do
    local n = 5 * (i - 1)
    local used, wanted, cost = tonumber(ARGV[n + 1]), tonumber(ARGV[n + 2]), tonumber(ARGV[n + 3])
    local burst, reserved = tonumber(ARGV[n + 4]), tonumber(ARGV[n + 5])
    local before = tonumber(redis.call('GET', key) or 0) or 0
    local state = math.min(math.max(before, now) + used, now + 2 * burst)
    local free = math.max(0, math.max(0, burst - reserved) - (state - now))
    local granted = wanted
    if wanted > free then
        granted = math.min(free, math.ceil(math.floor(free * 1000 / cost) * cost / 1000))
    end
    state = state + granted
    local ahead = state - now
    if ahead > 0 then
        if state ~= before then
            redis.call('SET', key, string.format('%.0f', state), 'PX', math.max(1, math.ceil(ahead / 1000)))
        end
    elseif before > 0 then
        redis.call('DEL', key)
    end
    result[2 * i - 1] = ahead
    result[2 * i] = granted
end
return result
