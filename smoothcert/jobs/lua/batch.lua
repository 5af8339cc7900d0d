#!lua
-- Creates a batch, before its jobs, or finds the one that this idempotency key created. Returns {status, id}.
-- args: id, owner, batch (JSON), idempotency, body, ttl.
local seen_key = key('batch-key', args.owner, args.idempotency)
if args.idempotency ~= '' then
  local seen = redis.call('HMGET', seen_key, 'batch', 'body')
  if seen[1] and redis.call('EXISTS', key('batch', seen[1])) == 1 then
    return {seen[2] == args.body and 'same' or 'conflict', seen[1]}
  end
end
redis.call('SET', key('batch', args.id), args.batch, 'EX', args.ttl)
if args.idempotency ~= '' then
  redis.call('HSET', seen_key, 'batch', args.id, 'body', args.body)
  redis.call('EXPIRE', seen_key, args.ttl)
end
return {'created', args.id}
