#!lua flags=allow-oom
-- Begins the task of a message, with the next range. Returns {'begun', range, main, fields, image, counts, microseconds since
-- the job's first task began}, or {reason} if it can't; {'elsewhere', queue, message number}: send the message on.
-- args: id, chain (number of the message; 0: a helper's), task, delivery, worker, platform, ttl, max_deliveries, exhausted.
local id, main = args.id, args.chain > 0
local status, chain, platform, model, queue = get(id, 'status', 'chain', 'platform', 'model', 'queue')
if not status then return {'gone'} end
if is_terminal(status) then return {'over'} end

-- The same delivery again: our reply was lost. Another delivery of the same message: the process that began it died.
local entry = redis.call('HGET', key('tasks', id), args.task)
local begun = entry and cjson.decode(entry)
local repeated = begun and begun.delivery == args.delivery
if begun and not repeated and not lose(id, args.task, 'child') then return {'exhausted'} end

if main then
  if tonumber(chain) ~= args.chain then return {'stale'} end
  if platform and platform ~= args.platform then  -- only workers of its platform may continue it
    return {'elsewhere', home(id), enqueue(id, home(id))}
  end
elseif status ~= 'running' or platform ~= args.platform then
  return {'over'}
elseif queue == home(id) and is_waiting(id) then  -- the main task died: this one, which came first, takes its place
  main = true
  redis.call('HINCRBY', key('job', id), 'chain', 1)
end

if main then
  local sequence = redis.call('ZSCORE', key('waiting', queue), id)
  if sequence then
    redis.call('ZREM', key('waiting', queue), id)
    local last = tonumber(redis.call('HGET', key('queues'), queue) or 0)
    redis.call('HSET', key('queues'), queue, text(math.max(last, tonumber(sequence))))
  end
  redis.call('SADD', key('running'), id)
  redis.call('EXPIRE', key('running'), args.ttl)
  redis.call('HSETNX', key('job', id), 'started', text(now()))
  if status == 'queued' then
    set(id, 'status', 'running')
    count(1, 'attempts', model)
    touch(id)
  end
end

local range = repeated and begun.range or take(id)
local fields = redis.call('HMGET', key('job', id), 'model', 'parameters', 'seed', 'epoch', 'engine', 'weights', 'first_votes',
  'range_votes', 'ranges', 'state', 'folded', 'request', 'engine_config', 'asked_before')
local image = redis.call('HMGET', key('image', id), 'pixels', 'digest')
local elapsed = now() - tonumber(redis.call('HGET', key('job', id), 'started') or now())
return {'begun', range, main and 1 or 0, fields, image, redis.call('HGETALL', key('counts', id)), elapsed}
