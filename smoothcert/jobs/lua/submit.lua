-- A new job, or the one this idempotency key already made. Answers {what, id, row}.
local id, owner, model, parameters, progress, seed = unpack(ARGV, 1, 6)
local idempotency, body, pixels, digest = unpack(ARGV, 7, 10)
local queue_cap, owner_cap, ttl = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local request, lane, batch, setup = unpack(ARGV, 14, 17)
local seen_key = key('idempotency', owner, idempotency)
local open_key, owned_key = key('open', owner), key('owner', owner)

if exists(id) then return {'created', id, row_of(id)} end  -- the client asks again because the answer was lost on its way
if idempotency ~= '' then
  local seen = redis.call('HMGET', seen_key, 'job', 'body')
  if seen[1] and exists(seen[1]) then
    return {seen[2] == body and 'same' or 'conflict', seen[1], row_of(seen[1])}
  end
end

-- Those of a list that are older than records live without a change, and are there no more.
local function expired(list, oldest)
  local gone = {}
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', list, '-inf', oldest, 'LIMIT', 0, 1000)) do
    if not exists(old) then gone[#gone + 1] = old end
  end
  return gone
end

local time = now()
local oldest = text(time - ttl * 1000000)
local not_open, not_owned = expired(open_key, oldest), expired(owned_key, oldest)
if queue_cap > 0 and waiting() >= queue_cap then return {'full', '', {}} end
if owner_cap > 0 and redis.call('ZCARD', open_key) - #not_open >= owner_cap then return {'quota', '', {}} end

-- The first write is one that a full server refuses; what follows it in the script is then never refused.
redis.call('HSET', key('job', id),
  'status', 'queued', 'owner', owner, 'model', model, 'parameters', parameters, 'progress', progress,
  'seed', seed, 'created', text(time), 'attempts', 0, 'fence', 0, 'request', request,
  'lane', lane, 'setup', setup)
if batch ~= '' then redis.call('HSET', key('job', id), 'batch', batch) end
redis.call('HSET', key('image', id), 'pixels', pixels, 'digest', digest)
for _, old in ipairs(not_open) do redis.call('ZREM', open_key, old) end
for _, old in ipairs(not_owned) do redis.call('ZREM', owned_key, old) end
redis.call('ZADD', open_key, text(time), id)
redis.call('ZADD', owned_key, text(time), id)
if idempotency ~= '' then
  redis.call('HSET', seen_key, 'job', id, 'body', body)
  redis.call('HSET', key('job', id), 'idempotency', idempotency)
end
tally(1, 'submitted', model)
enqueue(id, ttl)
touch(id, ttl)
return {'created', id, row_of(id)}
