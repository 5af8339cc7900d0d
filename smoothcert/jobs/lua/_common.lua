-- Put before every script, after its first line. KEYS[1] is '{root}', ARGV[1] the arguments as a JSON object. keys.py lists
-- all keys. Times are microseconds of the server's clock.
local root, args = KEYS[1], cjson.decode(ARGV[1])

local function key(...)
  return root .. ':' .. table.concat({...}, ':')
end

local function text(number)  -- tostring() would return 1.79e+15
  return string.format('%.0f', number)
end

local function now()
  local clock = redis.call('TIME')
  return tonumber(clock[1]) * 1000000 + tonumber(clock[2])
end

local function get(id, ...)
  return unpack(redis.call('HMGET', key('job', id), ...), 1, select('#', ...))
end

local function set(id, ...)
  redis.call('HSET', key('job', id), ...)
end

local function number(id, field)
  return tonumber(get(id, field) or 0)
end

local function exists(id)
  return redis.call('EXISTS', key('job', id)) == 1
end

-- Counts an event for /metrics. The hash never expires; its size is bounded, as the service only accepts known models.
local function count(by, ...)
  redis.call('HINCRBY', key('metrics'), table.concat({...}, ':'), by)
end

local BOUNDS = {0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200}  -- seconds, upper bounds

-- Adds a duration to a histogram: to its bucket (not cumulative) and to the sum. The last bucket has no upper bound.
local function observe(what, model, microseconds)
  microseconds = math.max(microseconds, 0)  -- the clock may have been set back
  local place = 1
  while BOUNDS[place] and microseconds > BOUNDS[place] * 1000000 do place = place + 1 end
  count(1, what, model, place)
  count(text(microseconds), what, model, 'sum')
end

local function is_terminal(status)
  return status == 'succeeded' or status == 'failed' or status == 'cancelled'
end

-- Restarts the TTL of a record, its batch, its owner's lists, its idempotency key and the count of its question.
local function keep(id)
  local batch, owner, idempotency, question = get(id, 'batch', 'owner', 'idempotency', 'question')
  if batch then redis.call('EXPIRE', key('batch', batch), args.ttl) end
  if idempotency then redis.call('EXPIRE', key('idempotency', owner, idempotency), args.ttl) end
  if question then redis.call('EXPIRE', key('asked', question), args.ttl) end
  if owner then
    for _, list in ipairs({'open', 'owner'}) do redis.call('EXPIRE', key(list, owner), args.ttl) end
  end
  for _, part in ipairs({'job', 'image', 'counts', 'tasks'}) do redis.call('EXPIRE', key(part, id), args.ttl) end
end

-- Call it after every visible change of a record: readers that poll compare the version.
local function touch(id)
  redis.call('HINCRBY', key('job', id), 'version', 1)
  keep(id)
end

local function is_waiting(id)
  local queue = get(id, 'queue')
  return queue and redis.call('ZSCORE', key('waiting', queue), id) and true or false
end

-- Makes the job wait for a new message in this queue; its older messages become invalid. Returns the message's number.
local function enqueue(id, queue)
  local sequence = redis.call('HINCRBY', key('queues'), '', 1)
  redis.call('HSETNX', key('queues'), queue, 0)
  if not is_waiting(id) then set(id, 'waiting_since', text(now())) end
  local before = get(id, 'queue')
  if before and before ~= queue then redis.call('ZREM', key('waiting', before), id) end
  redis.call('ZADD', key('waiting', queue), sequence, id)
  redis.call('EXPIRE', key('waiting', queue), args.ttl)
  redis.call('SREM', key('running'), id)
  set(id, 'queue', queue, 'sent', text(now()))
  return redis.call('HINCRBY', key('job', id), 'chain', 1)
end

local function queue_names()
  local names = {}
  for _, name in ipairs(redis.call('HKEYS', key('queues'))) do
    if name ~= '' then names[#names + 1] = name end
  end
  return names
end

-- The number of jobs that wait in these queues; without an argument, in all queues.
local function waiting(queues)
  local total = 0
  for _, queue in ipairs(queues or queue_names()) do total = total + redis.call('ZCARD', key('waiting', queue)) end
  return total
end

-- The Celery queue of the model's jobs in this job's lane, as it was submitted.
local function lane_queue(id)
  local model, lane = get(id, 'model', 'lane')
  return 'certify.' .. model .. (lane == 'batch' and ':batch' or '')
end

-- The Celery queue of the job's next message: once the job is pinned, its platform's.
local function home(id)
  return get(id, 'platform_queue') or lane_queue(id)
end

-- The living children, as they announced themselves: id -> {platform = ..., models = {...}}. A task's `worker` is such an id.
local function living_children()
  local living = {}
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('children'), text(now()), '+inf')) do
    local child = redis.call('HGET', key('workers', 'child'), worker)
    if child then
      child = cjson.decode(child)
      living[child.id] = child
    end
  end
  return living
end

local function has(child, model, platform)
  if platform and child.platform ~= platform then return false end
  for _, name in ipairs(child.models) do
    if name == model then return true end
  end
  return false
end

-- The number of queued jobs ahead of this one. Single jobs and those of batches alternate, starting with a single one.
local function position(id)
  local queue = get(id, 'queue')
  local rank = redis.call('ZRANK', key('waiting', queue), id)
  if not rank then return false end
  local other, is_batch = string.gsub(queue, ':batch$', '')
  if is_batch == 0 then other = queue .. ':batch' end
  return rank + math.min(rank + is_batch, redis.call('ZCARD', key('waiting', other)))
end

-- What callers see of a job, with its position in the queue; empty if there is no such job.
local function row_of(id)
  local fields = {'status', 'model', 'parameters', 'progress', 'certificate', 'error', 'created', 'started',
    'finished', 'attempts', 'version', 'owner'}
  local row = redis.call('HMGET', key('job', id), unpack(fields))
  if not row[1] then return {} end
  row[#fields + 1] = row[1] == 'queued' and position(id)
  return row
end

-- The only transition into a terminal state; there is none out of it. For /metrics the job counts as `outcome`, by default
-- as the certificate's outcome, without a certificate as the status.
local function settle(id, status, outcome)
  local model, owner, created, certificate, queue = get(id, 'model', 'owner', 'created', 'certificate', 'queue')
  redis.call('SREM', key('running'), id)
  redis.call('ZREM', key('waiting', queue), id)
  redis.call('ZREM', key('open', owner), id)
  redis.call('DEL', key('counts', id), key('tasks', id))
  redis.call('HDEL', key('job', id), 'state')
  set(id, 'status', status, 'finished', text(now()))
  local proved = status == 'succeeded' and string.match(certificate or '', '"outcome":"(%a+)"')
  count(1, 'jobs', model, outcome or proved or status)
  observe('job', model, now() - tonumber(created))
  touch(id)
end

-- Restarts the job from vote 0 with the same seed: another platform or other weights make another classifier.
local function restart(id)
  local n = cjson.decode(get(id, 'parameters')).n
  redis.call('DEL', key('counts', id), key('tasks', id))
  redis.call('HDEL', key('job', id), 'state', 'engine', 'platform', 'platform_queue', 'weights',
    'certificate', 'first_votes', 'range_votes', 'ranges')
  set(id, 'progress', cjson.encode({samples = 0, of = n}), 'next', 0, 'folded', 0)
  count(1, 'restarts', get(id, 'model'))
  return redis.call('HINCRBY', key('job', id), 'epoch', 1)
end

-- Removes a task that ended without a delivery: its range is missing. If that range was lost too often, the job fails;
-- returns false then. `cause`: how the task was lost, for /metrics.
local function lose(id, task, cause)
  local entry = cjson.decode(redis.call('HGET', key('tasks', id), task))
  redis.call('HDEL', key('tasks', id), task)
  count(1, 'lost', get(id, 'model'), cause)
  if entry.range < 0 then return true end
  if redis.call('HINCRBY', key('tasks', id), 'missing:' .. entry.range, 1) >= args.max_deliveries then
    set(id, 'error', args.exhausted)
    settle(id, 'failed', 'exhausted')
    return false
  end
  redis.call('HINCRBY', key('job', id), 'attempts', 1)
  touch(id)
  return true
end

-- The running tasks of a job (task id -> entry), and its missing ranges that none of them has, in ascending order.
local function tasks_of(id)
  local tasks, taken, missing = {}, {}, {}
  local flat = redis.call('HGETALL', key('tasks', id))
  for i = 1, #flat, 2 do
    local range = string.match(flat[i], '^missing:(%d+)$')
    if range then
      missing[#missing + 1] = tonumber(range)
    else
      tasks[flat[i]] = cjson.decode(flat[i + 1])
      taken[tasks[flat[i]].range] = true
    end
  end
  local free = {}
  for _, range in ipairs(missing) do
    if not taken[range] then free[#free + 1] = range end
  end
  table.sort(free)
  return tasks, free
end

local function enter(id, range)
  local entry = {worker = args.worker, delivery = args.delivery, range = range, since = now()}
  redis.call('HSET', key('tasks', id), args.task, cjson.encode(entry))
  redis.call('EXPIRE', key('tasks', id), args.ttl)
end

-- Marks a range as missing. Keeps the number of times that it was lost.
local function miss(id, range)
  redis.call('HSETNX', key('tasks', id), 'missing:' .. range, 0)
end

-- Assigns to this task the next range that is neither counted nor assigned; -1 if there is none.
local function take(id)
  local _, free = tasks_of(id)
  local range = free[1]
  if not range then
    local following = math.max(number(id, 'next'), number(id, 'folded'))
    while redis.call('HEXISTS', key('counts', id), following) == 1 do following = following + 1 end
    if following >= math.max(number(id, 'ranges'), 1) then return -1 end
    range = following
    set(id, 'next', following + 1)
  end
  enter(id, range)
  return range
end
