-- The slot's term: its state under one grant. Every other script of slots begins with this file.
-- KEYS[1..5]: term, requests, buyers, recalls (hashes), queue (stream), the same for every script.
-- Defines five functions:
-- - whole(text): the number, if the text has only digits and the number is at most 2^53 - 1.
--   Otherwise nil.
-- - digits(n): the text of a number.
-- - is_type(key, wanted, or_none): whether the key has this type. If or_none is true, the result is
--   also true for a missing key.
-- - flag(text): 0 or 1, or nil if the text is neither.
-- - read_term(): the term. If the slot has no term, the first result is nil. For a retired slot,
--   the second result is the slot's epoch.
-- The term counts as lost if a key has a wrong type, the queue is missing, or a value is missing or
-- out of range.
-- This file must never write.
local MAX = 9007199254740991
local GROUP = 'settle'

local function whole(text)
  if type(text) ~= 'string' or #text > 16 or not string.find(text, '^%d+$') then
    return nil
  end
  local n = tonumber(text)
  if n > MAX then
    return nil
  end
  return n
end

local function digits(n)
  return string.format('%.0f', n)
end

local function is_type(key, wanted, or_none)
  local found = redis.call('TYPE', key).ok
  return found == wanted or (or_none and found == 'none')
end

local function flag(text)
  if text == '0' then
    return 0
  elseif text == '1' then
    return 1
  end
  return nil
end

local function read_term()
  if not is_type(KEYS[1], 'hash', true) then
    return nil, nil
  end
  local f = redis.call('HMGET', KEYS[1], 'epoch', 'grant', 'counted', 'a', 'b', 'active', 'mark', 'threshold', 'applied', 'n', 'stopped')
  local epoch = whole(f[1])
  if not f[2] then
    return nil, epoch
  end
  for i = 2, 4 do
    if not is_type(KEYS[i], 'hash', true) then
      return nil, nil
    end
  end
  if not is_type(KEYS[5], 'stream', false) then
    return nil, nil
  end
  local term = {
    epoch = epoch,
    grant = f[2],
    counted = flag(f[3]),
    a = whole(f[4]),
    b = whole(f[5]),
    active = f[6],
    mark = flag(f[7]),
    threshold = whole(f[8]),
    applied = whole(f[9]),
    n = whole(f[10]),
    stopped = flag(f[11]),
  }
  local is_whole = epoch and term.counted and term.a and term.b and term.mark and term.threshold
    and term.applied and term.n and term.stopped
  if not is_whole or (term.active ~= 'a' and term.active ~= 'b') or term.a + term.b > MAX then
    return nil, nil
  end
  return term, nil
end
