-- Applies feed rows of one grant in sequence, if the slot has this grant and epoch.
-- KEYS: see term.lua.
-- ARGV: grant and epoch, then nine values for each row:
-- - seq, units, and counter (a or b);
-- - whether the row brings units from the pool or another slot (0 or 1);
-- - the buyer's hash or nothing, and the change of the buyer's quota;
-- - the token of the ticket to forget or nothing, and the ticket's number;
-- - the hash of the ticket's request: nothing if the caller does not know the hash, and "-" if the
--   caller searched for the request and did not find it.
-- Returns {applied}: the slot's position in the feed. Returns {} if the slot has another grant or
-- epoch. If neither row i (counted from 1) nor the queue has the hash of the row's request, returns
-- {applied, i} and changes nothing. The caller must then search the slot's memory in separate
-- calls.
-- The script must never apply a row twice or out of sequence. It must check every row before it
-- writes. It must never scan the memory of requests.
local WORDS = 9
local count = (#ARGV - 2) / WORDS
local epoch = whole(ARGV[2])
if not epoch or count < 1 or count ~= math.floor(count) then
  return redis.error_reply('DOORBUSTER apply: wrong arguments')
end
local term = read_term()
if not term or term.grant ~= ARGV[1] or term.epoch ~= epoch then
  return {}
end

local shares, forget, share_of, request_of = {}, {}, {}, {}
-- Returns the field's value after the earlier rows of this call, or false if the field is missing.
local function remembered(memory, key, field)
  if memory[field] == nil then
    memory[field] = redis.call('HGET', key, field)
  end
  return memory[field]
end

local applied = term.applied
for i = 1, count do
  local at = 2 + (i - 1) * WORDS
  local seq, units, counter = whole(ARGV[at + 1]), whole(ARGV[at + 2]), ARGV[at + 3]
  local brings, buyer, change = flag(ARGV[at + 4]), ARGV[at + 5], tonumber(ARGV[at + 6])
  local token, n, hash = ARGV[at + 7], ARGV[at + 8], ARGV[at + 9]
  local is_valid = seq and units and (counter == 'a' or counter == 'b') and brings
  if not is_valid or not change or change ~= math.floor(change) then
    return redis.error_reply('DOORBUSTER apply: a value is out of range')
  end
  if seq == applied + 1 then
    applied = seq
    term[counter] = term[counter] + units
    if term.a + term.b > MAX then
      return redis.error_reply('DOORBUSTER apply: more units than can be counted')
    end
    if brings == 1 and units > 0 then
      term.mark = 0
    end
    if buyer ~= '' then
      local has = (whole(remembered(share_of, KEYS[3], buyer) or '0') or 0) + change
      if has > 0 and has <= 4294967295 then
        share_of[buyer], shares[buyer] = digits(has), digits(has)
      else
        share_of[buyer], shares[buyer] = false, false
      end
    end
    if token ~= '' then
      if hash == '' then
        -- The store decided the ticket from its id alone, so the row lacks the hash of the request.
        -- If no settler has acknowledged the ticket, the ticket's entry in the queue has this hash.
        local id = ARGV[2] .. '-' .. n
        local entry = redis.call('XRANGE', KEYS[5], id, id)[1]
        if entry and string.match(entry[2][2], '^%d+') == term.grant then
          hash = entry[2][4]
        else
          return { term.applied, i }
        end
      end
      local value = hash ~= '-' and remembered(request_of, KEYS[2], hash)
      if value and string.match(value, ' (%d+)$') == token then
        request_of[hash], forget[hash] = false, true
      end
    end
  end
end
if applied == term.applied then
  return { applied }
end

redis.call('HSET', KEYS[1], 'applied', digits(applied), 'a', digits(term.a), 'b', digits(term.b), 'mark', digits(term.mark))
for buyer, has in pairs(shares) do
  if has then
    redis.call('HSET', KEYS[3], buyer, has)
  else
    redis.call('HDEL', KEYS[3], buyer)
  end
end
for hash in pairs(forget) do
  redis.call('HDEL', KEYS[2], hash)
end
return { applied }
