-- Jobs whose message must be sent (again), as {id, model, id, model, ...}: their holder's lease ran out, or messages were
-- lost, for the job waits longer than `grace` although its message queue is empty (the models named in ARGV[6...]). Any
-- message brings the first job of its queue, so while there are some, none waits for its own.
local grace, max_attempts, error, ttl, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local time, due = now(), {}

local function add(id, model)
  due[#due + 1] = id
  due[#due + 1] = model
end

-- A lease that was given later than now was given before the clock was set back: it ends as long after now as it was given for.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('running'), text(time), '+inf')) do
  local job = redis.call('HMGET', key('job', id), 'lease', 'renewed')
  if tonumber(job[2] or 0) > time then
    write_even_when_full(id, ttl)
    local lease = tonumber(job[1]) - tonumber(job[2])
    renew(id, lease, ttl)
    extend_portions(id, nil, text(time + lease))
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('running'), '-inf', text(time), 'LIMIT', 0, limit)) do
  if not exists(id) then
    redis.call('ZREM', key('running'), id)
  else
    write_even_when_full(id, ttl)
    tally(1, 'lost', get(id, 'model'), 'lease')
    if tonumber(get(id, 'attempts')) >= max_attempts then
      redis.call('HSET', key('job', id), 'error', error)
      settle(id, 'failed', ttl, 'exhausted')
    else
      requeue(id, ttl)
      add(id, get(id, 'model'))
    end
  end
end

for i = 6, #ARGV do
  local model = ARGV[i]
  for _, id in ipairs(redis.call('ZRANGE', key('queue', model), 0, limit - 1)) do
    if not exists(id) then
      redis.call('ZREM', key('queue', model), id)
    elseif math.abs(time - tonumber(get(id, 'sent'))) > grace then  -- either way: clocks are set back, too
      keep_queue(model, ttl)
      redis.call('HSET', key('job', id), 'sent', text(time))
      tally(1, 'resent', model)
      add(id, model)
    end
  end
end

-- Records expire, and with them their places in queues that nobody serves. Where a living worker has the model a job waits as
-- long as it must: half its time is up when its clock starts anew, and that of its queue with it.
local served, old = served_models(), time - ttl / 2 * 1000000
for _, model in ipairs(redis.call('SMEMBERS', key('models'))) do
  local queue = key('queue', model)
  for _, from in ipairs({0, BEHIND}) do
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, text(from), text(from + old))) do
      local left = redis.call('TTL', key('job', id))
      if left == -2 then  -- there is no such record
        redis.call('ZREM', queue, id)
      elseif served[model] and left < ttl / 2 then
        keep(id, ttl)
        keep_queue(model, ttl)
      end
    end
  end
  if redis.call('EXISTS', queue) == 0 then redis.call('SREM', key('models'), model) end
end
return due
