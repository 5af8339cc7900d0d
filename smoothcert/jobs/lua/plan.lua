-- A new batch, of jobs that are yet to be submitted, or the one this idempotency key already made. Answers {what, id}.
local id, owner, said, idempotency, body, ttl = unpack(ARGV, 1, 6)
local seen_key = key('batch-key', owner, idempotency)
if idempotency ~= '' then
  local seen = redis.call('HMGET', seen_key, 'batch', 'body')
  if seen[1] and redis.call('EXISTS', key('batch', seen[1])) == 1 then
    return {seen[2] == body and 'same' or 'conflict', seen[1]}
  end
end
redis.call('SET', key('batch', id), said, 'EX', ttl)
if idempotency ~= '' then
  redis.call('HSET', seen_key, 'batch', id, 'body', body)
  redis.call('EXPIRE', seen_key, ttl)
end
return {'created', id}
