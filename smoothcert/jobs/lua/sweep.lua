#!lua flags=allow-oom
-- Finds open jobs that no task works on. Returns {messages to send, jobs given up}: {id, queue, message number, ...} and
-- {id, model, ...}. Any number of workers may sweep: a superfluous message is ignored.
-- args: ttl, grace, time_limit, patience (seconds), max_deliveries, exhausted, unserved and refused (errors; {model}, {reason}),
-- empty (Celery queues without a message), limit.
-- OVERTAKEN: a message counts as lost once a message this much newer has begun. UNWATCHED, REFUSED: seconds, see below.
local SECOND, OVERTAKEN, UNWATCHED, REFUSED = 1000000, 16, 60, 1
local time, living, send, given_up = now(), living_children(), {}, {}

local function push(list, ...)
  for _, item in ipairs({...}) do list[#list + 1] = item end
end

local function resend(id)
  local queue = home(id)
  push(send, id, queue, enqueue(id, queue))
  keep(id)
  count(1, 'resent', get(id, 'model'))
end

local function long_ago(moment, seconds)  -- or far in the future: the clock was set back
  return math.abs(time - moment) > seconds * SECOND
end

-- Living workers by the parents' heartbeats, so that a worker still counts while its child is replaced.
local statuses, parents = {}, {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), text(time), '+inf')) do
  local status = redis.call('HGET', key('workers', 'status'), worker)
  if status then statuses[#statuses + 1], parents[worker] = cjson.decode(status), true end
end

local function includes(names, model)
  for _, name in ipairs(names) do
    if name == model then return true end
  end
  return false
end

-- Whether a living worker (of this platform, if given) has loaded the model, or is going to. A worker that loads its first
-- model has platform '', as it is not known yet: it may be this one.
local function anybody_has(model, platform)
  local refused = redis.call('HEXISTS', key('refused_models'), model) == 1
  for _, worker in ipairs(statuses) do
    local right = not platform or worker.platform == platform or worker.platform == ''
    if right and (includes(worker.models, model) or not refused and includes(worker.loading, model)) then return true end
  end
  return false
end

-- Tasks of dead workers, and tasks older than Celery's time limit.
for _, id in ipairs(redis.call('SMEMBERS', key('running'))) do
  local open, at_work = exists(id), false
  if not open then redis.call('SREM', key('running'), id) end
  for task, entry in pairs((tasks_of(id))) do
    if living[entry.worker] and not long_ago(entry.since, args.time_limit) then
      at_work = true
    elseif open then
      open = lose(id, task, parents[string.match(entry.worker, '^[^/]+')] and 'child' or 'worker')
    end
  end
  if open and not at_work then
    for range = number(id, 'folded'), number(id, 'next') - 1 do
      if redis.call('HEXISTS', key('counts', id), range) == 0 then miss(id, range) end
    end
    resend(id)
  end
end

-- Waiting jobs whose message was lost, and those pinned to a platform that has no worker any more.
local empty, queues_by_model = {}, {}
for _, queue in ipairs(args.empty) do empty[queue] = true end

local function visit(id, queue, sequence, begun)
  local model, platform, sent = get(id, 'model', 'platform', 'sent')
  if not model then  -- the record has expired
    redis.call('ZREM', key('waiting', queue), id)
  elseif platform and not anybody_has(model, platform) and anybody_has(model) then
    restart(id)
    resend(id)
  elseif (empty[queue] or sequence < begun - OVERTAKEN) and long_ago(tonumber(sent), args.grace) then
    resend(id)
  elseif anybody_has(model) and redis.call('TTL', key('job', id)) < args.ttl / 2 then
    keep(id)
    redis.call('EXPIRE', key('waiting', queue), args.ttl)
  end
end

for _, queue in ipairs(queue_names()) do
  local model, begun = string.match(queue, '^certify%.([^:]+)'), tonumber(redis.call('HGET', key('queues'), queue))
  local waits = redis.call('ZRANGE', key('waiting', queue), 0, args.limit - 1, 'WITHSCORES')
  for i = 1, #waits, 2 do visit(waits[i], queue, tonumber(waits[i + 1]), begun) end
  if #waits == 0 then
    redis.call('HDEL', key('queues'), queue)
  else
    queues_by_model[model] = queues_by_model[model] or {}
    push(queues_by_model[model], queue)
  end
end

-- Fails the jobs of a model that no living worker has, because the wait is too long, or after REFUSED seconds if a worker
-- could not load it. Only time in which sweeps run counts: without one for UNWATCHED seconds (all workers down, or
-- suspended), every wait starts again.
local function end_all(model, template, seconds, reason)
  local problem = cjson.decode(template)
  problem.detail = string.gsub(problem.detail, '{(%a+)}', {model = model, reason = reason or ''})
  for _, queue in ipairs(queues_by_model[model]) do
    for _, id in ipairs(redis.call('ZRANGE', key('waiting', queue), 0, args.limit - 1)) do
      if long_ago(number(id, 'waiting_since'), seconds) then
        set(id, 'error', cjson.encode(problem))
        settle(id, 'failed')
        push(given_up, id, model)
      end
    end
  end
end

local served = key('served')
local watched = time - tonumber(redis.call('HGET', served, '') or 0) <= UNWATCHED * SECOND
redis.call('HSET', served, '', text(time))  -- time of the last sweep; no model has an empty name
for model in pairs(queues_by_model) do
  local last = tonumber(redis.call('HGET', served, model) or 0)
  local reason = redis.call('HGET', key('refused_models'), model)
  if anybody_has(model) or not watched or last > time then  -- last > time: the clock was set back
    redis.call('HSET', served, model, text(time))
  elseif last <= time - args.patience * SECOND then
    end_all(model, args.unserved, args.patience)
  elseif reason and #statuses > 0 then
    end_all(model, args.refused, REFUSED, reason)
  end
end
redis.call('EXPIRE', served, args.ttl)
return {send, given_up}
