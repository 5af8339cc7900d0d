-- Takes a job under a lease and a new fence. Answers {'claimed', fence, ...} or {why not}.
local id, worker, platform = unpack(ARGV, 1, 3)
local lease, max_attempts, error, ttl = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local hash = key('job', id)

local function has_model(worker, model)
  local about = redis.call('HGET', key('workers', 'about'), worker)
  for _, name in ipairs(about and cjson.decode(about).models or {}) do
    if name == model then return true end
  end
  return false
end

local function runs_elsewhere(wanted, model)
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), text(now()), '+inf')) do
    if redis.call('HGET', key('workers', 'platform'), other) == wanted and has_model(other, model) then return true end
  end
  return false
end

write_even_when_full(id, ttl)
redis.call('HSET', key('workers', 'platform'), worker, platform)
redis.call('EXPIRE', key('workers', 'platform'), ttl)

local job = redis.call('HMGET', hash, 'status', 'holder', 'lease', 'attempts', 'platform', 'model')
local status, holder, expiry, attempts, pinned, model = unpack(job, 1, 6)
if not status then return {'gone'} end
if is_terminal(status) then return {'over'} end
-- One worker runs one job at a time: if it asks for a job that it holds, the process that held it is dead.
if status == 'running' and holder ~= worker and tonumber(expiry) > now() then return {'busy'} end
if tonumber(attempts) >= max_attempts then
  redis.call('HSET', hash, 'error', error)
  settle(id, 'failed', ttl)
  return {'exhausted'}
end
if pinned and pinned ~= platform then
  if runs_elsewhere(pinned, model) then return {'elsewhere'} end
  forget_votes(id)  -- nobody is left who could go on with them
end

local place = redis.call('ZSCORE', key('queue', model), id)
if place then
  local latest = redis.call('HGET', key('claimed'), model)
  if not latest or tonumber(latest) < tonumber(place) then redis.call('HSET', key('claimed'), model, text(place)) end
  redis.call('EXPIRE', key('claimed'), ttl)
  redis.call('ZREM', key('queue', model), id)
end
redis.call('HSETNX', hash, 'started', text(now()))
redis.call('HSET', hash, 'status', 'running', 'holder', worker)
redis.call('HINCRBY', hash, 'attempts', 1)
local fence = redis.call('HINCRBY', hash, 'fence', 1)
renew(id, lease, ttl)
touch(id, ttl)
local taken = redis.call('HMGET', hash, 'model', 'parameters', 'seed', 'attempts', 'state', 'engine', 'weights', 'request')
return {'claimed', text(fence), unpack(taken, 1, 8)}
