#!lua
-- Creates a job, or finds the one that this idempotency key created. Returns {status, id, row, queue, message number}.
-- No allow-oom flag: a server without memory refuses new jobs, but runs the scripts that accepted jobs need.
-- args: id, owner, model, parameters, progress, seed, idempotency, body, digest, into (Celery queue), queue_cap, open_cap,
-- ttl, request, lane, batch, engine_config, question (digest of pixels, model and sigma). ARGV[2]: the pixels.
local id, owner, model = args.id, args.owner, args.model
local seen_key = key('idempotency', owner, args.idempotency)
local open_key, owned_key = key('open', owner), key('owner', owner)

if exists(id) then  -- a retry, as our reply was lost
  return {'created', id, row_of(id), get(id, 'queue'), number(id, 'chain')}
end
if args.idempotency ~= '' then
  local seen = redis.call('HMGET', seen_key, 'job', 'body')
  if seen[1] and exists(seen[1]) then
    return {seen[2] == args.body and 'same' or 'conflict', seen[1], row_of(seen[1]), '', 0}
  end
end

-- The members of a list whose record has expired. Only those older than a record's TTL are checked.
local function expired(list, oldest)
  local gone = {}
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', list, '-inf', oldest, 'LIMIT', 0, 1000)) do
    if not exists(old) then gone[#gone + 1] = old end
  end
  return gone
end

local time = now()
local oldest = text(time - args.ttl * 1000000)
local not_open, not_owned = expired(open_key, oldest), expired(owned_key, oldest)
if args.queue_cap > 0 and waiting() >= args.queue_cap then return {'full', '', {}, '', 0} end
if args.open_cap > 0 and redis.call('ZCARD', open_key) - #not_open >= args.open_cap then return {'quota', '', {}, '', 0} end

-- Whatever becomes of a job, its caller may see how it goes and ask again: so it counts from its submission.
local asked_before = redis.call('INCR', key('asked', args.question)) - 1
set(id, 'status', 'queued', 'owner', owner, 'model', model, 'parameters', args.parameters, 'progress', args.progress,
  'seed', args.seed, 'created', text(time), 'attempts', 0, 'request', args.request, 'lane', args.lane, 'engine_config', args.engine_config,
  'epoch', 1, 'next', 0, 'folded', 0, 'question', args.question, 'asked_before', asked_before)
if args.batch ~= '' then set(id, 'batch', args.batch) end
redis.call('HSET', key('image', id), 'pixels', ARGV[2], 'digest', args.digest)
for _, old in ipairs(not_open) do redis.call('ZREM', open_key, old) end
for _, old in ipairs(not_owned) do redis.call('ZREM', owned_key, old) end
redis.call('ZADD', open_key, text(time), id)
redis.call('ZADD', owned_key, text(time), id)
if args.idempotency ~= '' then
  redis.call('HSET', seen_key, 'job', id, 'body', args.body)
  set(id, 'idempotency', args.idempotency)
end
count(1, 'submitted', model)
local message = enqueue(id, args.into)
touch(id)
return {'created', id, row_of(id), args.into, message}
