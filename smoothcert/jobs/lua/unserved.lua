-- Ends the jobs that have waited for `patience` microseconds in which no living worker had their model. Answers {id, model,
-- ...} of them. `error`: what they end with; {model} in its detail is the model's name.
-- Only time in which somebody looks counts. After an outage of all, or the sleep of this machine, every model's wait begins
-- anew: else whoever is back first would end the jobs of those that come back a moment later.
local UNWATCHED = 60 * 1000000
local patience, error, ttl, limit = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time, ended, had = now(), {}, served_models()

local function naming(model)
  local said = cjson.decode(error)
  said.detail = (string.gsub(said.detail, '{model}', function() return model end))
  return cjson.encode(said)
end

-- Those of one lane (from...) that were in the queue before `since`.
local function end_all(model, from, since)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('queue', model), text(from), text(from + since), 'LIMIT', 0, limit)) do
    if get(id, 'status') == 'queued' then
      redis.call('HSET', key('job', id), 'error', naming(model))
      settle(id, 'failed', ttl)
      ended[#ended + 1] = id
      ended[#ended + 1] = model
    end
  end
end

redis.call('EXPIRE', key('served'), ttl)  -- first of all, for a full server refuses no write after one that needs no memory
local watched = time - tonumber(redis.call('HGET', key('served'), '') or 0) <= UNWATCHED
redis.call('HSET', key('served'), '', text(time))  -- when somebody looked last; no model has an empty name
for _, model in ipairs(redis.call('SMEMBERS', key('models'))) do
  local last = tonumber(redis.call('HGET', key('served'), model) or 0)
  if had[model] or not watched or last > time then  -- later than now: the clock was set back
    redis.call('HSET', key('served'), model, text(time))
  elseif last <= time - patience then
    for _, from in ipairs({0, BEHIND}) do end_all(model, from, time - patience) end
  end
end
redis.call('EXPIRE', key('served'), ttl)
return ended
