-- Takes a job under a lease and a new fence. A message says that there is work, the record says which: the job it names if
-- its holder is dead, else the first in that model's queue. Answers {'claimed', id, fence, ...}, or {why not} of the job named.
local named, worker, platform = unpack(ARGV, 1, 3)
local lease, max_attempts, error, ttl = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local SINGLES = 4  -- jobs sent alone that may be taken in a row while one of a batch waits

local function exhausted(id)
  if tonumber(get(id, 'attempts')) < max_attempts then return false end
  redis.call('HSET', key('job', id), 'error', error)
  settle(id, 'failed', ttl, 'exhausted')
  return true
end

local function runs_elsewhere(id)
  local job = redis.call('HMGET', key('job', id), 'platform', 'model')
  if not job[1] or job[1] == platform then return false end
  for _, other in ipairs(living_workers()) do
    if platform_of(other) == job[1] and has_model(other, job[2]) then return true end
  end
  return false
end

local function lost(expiry)
  tally(1, 'lost', get(named, 'model'), tonumber(expiry) > now() and 'child' or 'lease')
end

-- The named job, when nobody works on it any more, or why it can't be taken.
local function abandoned()
  local job = redis.call('HMGET', key('job', named), 'status', 'holder', 'lease')
  local status, holder, expiry = unpack(job, 1, 3)
  if not status then return nil, 'gone' end
  if is_terminal(status) then return nil, 'over' end
  if status == 'queued' then return nil, nil end
  -- One worker runs one job at a time: if it asks for a job that it holds, the process that held it is dead.
  if holder ~= worker and tonumber(expiry) > now() then return nil, 'busy' end
  if exhausted(named) then
    lost(expiry)
    return nil, 'exhausted'
  end
  if runs_elsewhere(named) then return nil, 'elsewhere' end
  lost(expiry)
  return named, nil
end

-- The first job of one lane (from..to of the queue) that this worker may take, and why it left the ones before.
local function first(queue, from, to)
  local left, why = 0, nil
  while true do
    local id = redis.call('ZRANGEBYSCORE', queue, from, to, 'LIMIT', left, 1)[1]
    if not id then return nil, why end
    if get(id, 'status') ~= 'queued' then
      redis.call('ZREM', queue, id)
    elseif exhausted(id) then
      why = 'exhausted'
    elseif runs_elsewhere(id) then
      why, left = 'elsewhere', left + 1
    else
      return id, nil
    end
  end
end

-- Jobs sent alone go before those of a batch, but not more than SINGLES of them in a row.
local function next_queued(model)
  local queue = key('queue', model)
  local single, why = first(queue, '-inf', '(' .. text(BEHIND))
  local batch, why_batch = first(queue, text(BEHIND), '+inf')
  if not single and not batch then return nil, why or why_batch end
  local passed = tonumber(redis.call('HGET', key('passed'), model) or 0)
  if batch and (passed >= SINGLES or not single) then
    redis.call('HDEL', key('passed'), model)
    return batch, nil
  end
  if batch then
    redis.call('HINCRBY', key('passed'), model, 1)
    redis.call('EXPIRE', key('passed'), ttl)
  end
  return single, nil
end

write_even_when_full(named, ttl)
redis.call('HSET', key('workers', 'platform'), worker, platform)
redis.call('EXPIRE', key('workers', 'platform'), ttl)

local model = get(named, 'model')
local id, why = abandoned()
if not id and model then
  local queued, why_queued = next_queued(model)
  id, why = queued, why or why_queued
end
if not id then return {why or 'over'} end

local hash = key('job', id)
local pinned = get(id, 'platform')
if pinned and pinned ~= platform then forget_votes(id) end  -- nobody is left who could go on with them
redis.call('ZREM', key('queue', model), id)
redis.call('HSETNX', hash, 'started', text(now()))
redis.call('HSET', hash, 'status', 'running', 'holder', worker)
redis.call('HINCRBY', hash, 'attempts', 1)
tally(1, 'attempts', model)
local fence = fresh_number(id, 'fence')
renew(id, lease, ttl)
touch(id, ttl)
local taken = redis.call('HMGET', hash, 'model', 'parameters', 'seed', 'attempts', 'state', 'engine', 'weights', 'request',
  'division', 'setup')
return {'claimed', id, fence, unpack(taken, 1, 10)}
