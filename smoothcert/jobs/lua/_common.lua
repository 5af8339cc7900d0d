-- Put before every script. All keys share one hash tag: KEYS[1] is '{root}'. Times are microseconds of the server's clock.
local root = KEYS[1]

local function key(...)
  return root .. ':' .. table.concat({...}, ':')
end

local function text(number)  -- Lua would write 1.79e+15
  return string.format('%.0f', number)
end

local function now()
  local clock = redis.call('TIME')
  return tonumber(clock[1]) * 1000000 + tonumber(clock[2])
end

local function get(id, field)
  return redis.call('HGET', key('job', id), field)
end

local function exists(id)
  return redis.call('EXISTS', key('job', id)) == 1
end

-- What happened, for /metrics, counted where it happens: no restart forgets it, and every process of the service tells the
-- same. A field reads 'what:model', or longer. The one hash that never expires; only models once served have fields in it.
local function tally(by, ...)
  redis.call('HINCRBY', key('figures'), table.concat({...}, ':'), by)
end

local BOUNDS = {0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200}  -- seconds, upper ends

-- One duration, in the first of BOUNDS that holds it and in the sum; the last place is of those longer than all.
local function observe(what, model, microseconds)
  microseconds = math.max(microseconds, 0)  -- the clock may have been set back
  local place = 1
  while BOUNDS[place] and microseconds > BOUNDS[place] * 1000000 do place = place + 1 end
  tally(1, what, model, place)
  tally(text(microseconds), what, model, 'sum')
end

-- What a holder did since its last report.
local function worked(id, votes, microseconds)
  if tonumber(votes) == 0 then return end
  local model = get(id, 'model')
  tally(votes, 'votes', model)
  observe('chunk', model, tonumber(microseconds))
end

local function is_terminal(status)
  return status == 'succeeded' or status == 'failed' or status == 'cancelled'
end

-- The clock of a record's expiry starts anew, as do those of the batch it is in, its owner's lists and the idempotency key that
-- made it: a question sent again finds its job as long as there is one.
local function keep(id, ttl)
  local job = redis.call('HMGET', key('job', id), 'batch', 'owner', 'idempotency')
  local batch, owner, idempotency = unpack(job, 1, 3)
  if batch then redis.call('EXPIRE', key('batch', batch), ttl) end
  if idempotency then redis.call('EXPIRE', key('idempotency', owner, idempotency), ttl) end
  if owner then
    for _, list in ipairs({'open', 'owner'}) do redis.call('EXPIRE', key(list, owner), ttl) end
  end
  redis.call('EXPIRE', key('job', id), ttl)
  for _, part in ipairs({'image', 'portions', 'counts'}) do redis.call('EXPIRE', key(part, id), ttl) end
end

-- An accepted job goes on even when the server is full: once a script has made a write that needs no memory, the server
-- refuses none of those that follow. Never of a part alone: an image that expired before its record would fail the job.
local write_even_when_full = keep

-- Every change of a record ends here: whoever waits sees a new version.
local function touch(id, ttl)
  redis.call('HINCRBY', key('job', id), 'version', 1)
  keep(id, ttl)
end

-- Jobs queue by time; those of a batch stand so many microseconds (a century) behind all that were sent alone.
local BEHIND = 4e15

-- A queue lives as long as the last of its jobs.
local function keep_queue(model, ttl)
  redis.call('EXPIRE', key('models'), ttl)
  redis.call('EXPIRE', key('queue', model), ttl)
end

local function enqueue(id, ttl)
  local job, time = redis.call('HMGET', key('job', id), 'model', 'lane'), now()
  local model = job[1]
  redis.call('HSET', key('job', id), 'sent', text(time))
  redis.call('SADD', key('models'), model)
  redis.call('ZADD', key('queue', model), text(job[2] == 'batch' and time + BEHIND or time), id)
  keep_queue(model, ttl)
end

local function waiting(models)
  local count = 0
  for _, model in ipairs(models or redis.call('SMEMBERS', key('models'))) do
    count = count + redis.call('ZCARD', key('queue', model))
  end
  return count
end

-- The models that a worker says it has; nil when nothing is known of it.
local function models_of(worker)
  local about = worker and redis.call('HGET', key('workers', 'about'), worker)
  return about and cjson.decode(about).models or nil
end

local function has_model(worker, model)
  for _, name in ipairs(models_of(worker) or {}) do
    if name == model then return true end
  end
  return false
end

local function living_workers()
  return redis.call('ZRANGEBYSCORE', key('workers'), text(now()), '+inf')
end

-- The models that some living worker has, as keys of a table.
local function served_models()
  local served = {}
  for _, worker in ipairs(living_workers()) do
    for _, model in ipairs(models_of(worker) or {}) do served[model] = true end
  end
  return served
end

local function platform_of(worker)
  return redis.call('HGET', key('workers', 'platform'), worker)
end

-- What callers see of a job, with its place in the queue; empty when there is no such job.
local function row_of(id)
  local fields = {'status', 'model', 'parameters', 'progress', 'certificate', 'error', 'created', 'started',
    'finished', 'attempts', 'version', 'owner'}
  local row = redis.call('HMGET', key('job', id), unpack(fields))
  if not row[1] then return {} end
  row[#fields + 1] = redis.call('ZRANK', key('queue', row[2]), id)
  return row
end

-- A number that this job never gave before: of a fence, a division, a ticket. Counting alone would give some twice where a
-- broker lost the last second before its end, while who has the first still works under it.
local function fresh_number(id, field)
  local number = text(math.max(tonumber(get(id, field) or 0) + 1, now()))
  redis.call('HSET', key('job', id), field, number)
  return number
end

-- Back to the queue. The fence moves on, so that whoever held the job can write no more.
local function requeue(id, ttl)
  redis.call('ZREM', key('running'), id)
  redis.call('HINCRBY', key('job', id), 'fence', 1)
  redis.call('HSET', key('job', id), 'status', 'queued')
  redis.call('HDEL', key('job', id), 'holder', 'lease', 'renewed')
  enqueue(id, ttl)
  touch(id, ttl)
end

-- One worker's work no longer: portions that are out (start -> portion) and counts that came in (start -> counts) go with
-- the number of the division, so that nobody who still works on them can bring or take any.
local function undivide(id)
  redis.call('HDEL', key('job', id), 'division', 'next')
  redis.call('DEL', key('portions', id), key('counts', id))
end

-- Whether the portions of a division go on where `drawn` votes are counted. They don't when its holder never heard of the
-- division and went on alone, or when a broker lost the last second before its end and the holder did not.
local function continues(id, drawn)
  return get(id, 'next') == drawn or redis.call('HEXISTS', key('portions', id), drawn) == 1
    or redis.call('HEXISTS', key('counts', id), drawn) == 1
end

-- Another end for the portions that this worker has of a divided job; no worker: for all portions.
local function extend_portions(id, worker, expiry)
  local out = redis.call('HGETALL', key('portions', id))
  for i = 1, #out, 2 do
    local portion = cjson.decode(out[i + 1])
    if not worker or portion.worker == worker then
      portion.expires = expiry
      redis.call('HSET', key('portions', id), out[i], cjson.encode(portion))
    end
  end
end

-- The one way into a terminal state, and there is none out of it. Counted as `outcome`, else as what the certificate says,
-- else as the status.
local function settle(id, status, ttl, outcome)
  local job = redis.call('HMGET', key('job', id), 'model', 'owner', 'created', 'certificate')
  redis.call('ZREM', key('running'), id)
  redis.call('ZREM', key('queue', job[1]), id)
  redis.call('ZREM', key('open', job[2]), id)
  redis.call('HINCRBY', key('job', id), 'fence', 1)
  redis.call('HSET', key('job', id), 'status', status, 'finished', text(now()))
  redis.call('HDEL', key('job', id), 'holder', 'lease', 'renewed', 'state')
  local proved = status == 'succeeded' and string.match(job[4] or '', '"outcome":"(%a+)"')
  tally(1, 'jobs', job[1], outcome or proved or status)
  observe('job', job[1], now() - tonumber(job[3]))
  undivide(id)
  touch(id, ttl)
end

-- True when this fence still holds this job.
local function holds(id, fence)
  local job = redis.call('HMGET', key('job', id), 'status', 'fence')
  return job[1] == 'running' and job[2] == fence
end

local function renew(id, lease, ttl)
  local time = now()
  local expiry = text(time + lease)
  extend_portions(id, get(id, 'holder'), expiry)
  redis.call('HSET', key('job', id), 'lease', expiry, 'renewed', text(time))
  redis.call('ZADD', key('running'), expiry, id)
  redis.call('EXPIRE', key('running'), ttl)
end

-- Back to the first vote, with the old seed: another machine, or other weights, is another classifier.
local function forget_votes(id)
  undivide(id)
  local n = cjson.decode(get(id, 'parameters')).n
  redis.call('HDEL', key('job', id), 'state', 'engine', 'platform', 'weights', 'certificate')
  redis.call('HSET', key('job', id), 'progress', cjson.encode({samples = 0, of = n}))
  tally(1, 'restarts', get(id, 'model'))
end
