-- Issues tickets for one or more requests of one slot, in sequence. For each request, the script
-- checks the memory of requests, the buyer's limit and the units. Then the script deducts the
-- units, remembers the request and queues the ticket.
-- KEYS: see term.lua.
-- ARGV: the largest numbers of remembered requests and of queued tickets, and the milliseconds that
-- the oldest ticket may wait. Then for each request: its hash, the buyer's hash, units, the buyer's
-- limit, decide_by, and "token node buyer key" for the queue entry.
-- Returns {} if the slot has no epoch or its queue is invalid, else {grant, answer…}. An answer is
-- the number of the issued ticket, or a text that begins with its kind: again, reused, stopped,
-- limit, short, full, or damaged.
-- The script decides every request and checks every value before it writes. Redis can refuse only
-- the first write (if the stream is missing, memory is full, or the server is a replica). In this
-- case nothing is written. The script reads no clock: the difference between the decide_by of the
-- request and of the oldest ticket shows how long that ticket waits.
local WORDS = 6
local requests_max, queue_max, age_max = whole(ARGV[1]), whole(ARGV[2]), whole(ARGV[3])
local count = (#ARGV - 3) / WORDS
if not requests_max or not queue_max or not age_max or count < 1 or count ~= math.floor(count) then
  return redis.error_reply('DOORBUSTER ticket: wrong arguments')
end
local hashes, buyers, inputs = {}, {}, {}
for i = 1, count do
  local at = 3 + (i - 1) * WORDS
  local units, limit, decide_by = whole(ARGV[at + 3]), whole(ARGV[at + 4]), whole(ARGV[at + 5])
  if not units or units == 0 or not limit or not decide_by then
    return redis.error_reply('DOORBUSTER ticket: a value is out of range')
  end
  hashes[i], buyers[i] = ARGV[at + 1], ARGV[at + 2]
  inputs[i] = { units = units, limit = limit, decide_by = decide_by, rest = ARGV[at + 6] }
end

local term = read_term()
if not term then
  return {}
end

local known, used = {}, {}
local found = redis.call('HMGET', KEYS[2], unpack(hashes))
for i = 1, count do
  known[hashes[i]] = found[i] or nil
end
found = redis.call('HMGET', KEYS[3], unpack(buyers))
for i = 1, count do
  used[buyers[i]] = whole(found[i] or '0')
end
local remembered, waiting = redis.call('HLEN', KEYS[2]), redis.call('XLEN', KEYS[5])
local oldest = nil
if waiting > 0 then
  local first = redis.call('XRANGE', KEYS[5], '-', '+', 'COUNT', 1)[1]
  oldest = whole(string.match(first[2][2], '^%d+ %d+ (%d+) '))
  if not oldest then
    return {}
  end
end

-- If only the inactive counter has enough units, it becomes the active counter. If neither counter
-- has enough, both are merged into the active counter. After the deduction, if the active counter
-- is below the threshold and the other counter has more units, the other counter becomes active.
local function deduct(units)
  local other = term.active == 'a' and 'b' or 'a'
  if term[term.active] < units then
    if term[other] >= units then
      term.active, other = other, term.active
    else
      term[term.active] = term[term.active] + term[other]
      term[other] = 0
    end
    term.mark = 1
  end
  local left = term[term.active] - units
  term[term.active] = left
  if left < term.threshold then
    term.mark = 1
    if term[other] > left then
      term.active = other
    end
  end
end

local answers, issued = { term.grant }, {}
local function answer(input, hash, buyer)
  local before, has = known[hash], used[buyer]
  if before then
    local units = string.match(before, '^%d+ (%d+) %d+ %d+$')
    if not units then
      return 'damaged'
    end
    return units == digits(input.units) and ('again ' .. before) or 'reused'
  elseif term.stopped == 1 or remembered >= requests_max then
    return 'stopped'
  elseif not has then
    return 'damaged'
  elseif has + input.units > input.limit then
    return 'limit ' .. digits(has)
  elseif term.counted == 1 and input.units > term.a + term.b then
    return 'short ' .. digits(term.a + term.b)
  elseif waiting >= queue_max or (oldest and input.decide_by - oldest > age_max) then
    return 'full'
  end
  if term.counted == 1 then
    deduct(input.units)
  end
  term.n = term.n + 1
  remembered, waiting, oldest = remembered + 1, waiting + 1, oldest or input.decide_by
  used[buyer] = has + input.units
  known[hash] = digits(term.n) .. ' ' .. digits(input.units) .. ' ' .. digits(input.decide_by) .. ' ' .. string.match(input.rest, '^%d+')
  local text = term.grant .. ' ' .. digits(input.units) .. ' ' .. digits(input.decide_by) .. ' ' .. input.rest
  issued[#issued + 1] = { id = digits(term.epoch) .. '-' .. digits(term.n), text = text, hash = hash, buyer = buyer }
  return term.n
end
for i = 1, count do
  answers[i + 1] = answer(inputs[i], hashes[i], buyers[i])
end
if #issued == 0 then
  return answers
end

local requests, shares = {}, {}
for i, ticket in ipairs(issued) do
  if not redis.call('XADD', KEYS[5], 'NOMKSTREAM', ticket.id, 't', ticket.text, 'r', ticket.hash) then
    return {}
  end
  requests[2 * i - 1], requests[2 * i] = ticket.hash, known[ticket.hash]
  shares[2 * i - 1], shares[2 * i] = ticket.buyer, digits(used[ticket.buyer])
end
redis.call('HSET', KEYS[2], unpack(requests))
redis.call('HSET', KEYS[3], unpack(shares))
redis.call('HSET', KEYS[1], 'a', digits(term.a), 'b', digits(term.b), 'active', term.active, 'mark', digits(term.mark), 'n', digits(term.n))
return answers
