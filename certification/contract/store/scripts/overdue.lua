-- Jobs whose message must be sent (again), as {id, model, id, model, ...}: their holder's lease ran out, or their
-- message was lost. It was lost when the job waits longer than `grace` although its queue is empty (the models named
-- in ARGV[6...]) or although a job sent well after it was taken already: a queue is first in, first out.
local grace, max_attempts, error, ttl, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5]
local time, due, idle = now(), {}, {}
for i = 6, #ARGV do idle[ARGV[i]] = true end

local function add(id, model)
  due[#due + 1] = id
  due[#due + 1] = model
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('running'), '-inf', text(time), 'LIMIT', 0, limit)) do
  if not exists(id) then
    redis.call('ZREM', key('running'), id)
  elseif tonumber(get(id, 'attempts')) >= max_attempts then
    redis.call('HSET', key('job', id), 'error', error)
    settle(id, 'failed', ttl)
  else
    requeue(id, ttl)
    add(id, get(id, 'model'))
  end
end

for _, model in ipairs(redis.call('SMEMBERS', key('models'))) do
  local queue = key('queue', model)
  local before = time - grace
  if not idle[model] then
    before = math.min(before, tonumber(redis.call('HGET', key('claimed'), model) or 0) - grace)
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', text(before), 'LIMIT', 0, limit)) do
    if exists(id) then
      redis.call('ZADD', queue, text(time), id)
      add(id, model)
    else
      redis.call('ZREM', queue, id)
    end
  end
  if redis.call('EXISTS', queue) == 0 then redis.call('SREM', key('models'), model) end
end
return due
