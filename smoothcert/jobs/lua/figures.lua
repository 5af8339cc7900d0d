-- What was counted, and how things stand. Answers {bounds in seconds, {field, count, ...}, {model, jobs waiting, age of the
-- oldest in microseconds, ...}, jobs running, {what a living worker says, microseconds until it counts as gone, ...}}.
local time, bounds, queues, workers = now(), {}, {}, {}
for place, bound in ipairs(BOUNDS) do bounds[place] = tostring(bound) end

local function push(list, ...)
  for _, item in ipairs({...}) do list[#list + 1] = item end
end

local function oldest(queue)
  local age = 0
  for _, lane in ipairs({0, BEHIND}) do
    local score = redis.call('ZRANGEBYSCORE', queue, text(lane), text(lane + time), 'WITHSCORES', 'LIMIT', 0, 1)[2]
    if score then age = math.max(age, time + lane - tonumber(score)) end
  end
  return age
end

for _, model in ipairs(redis.call('SMEMBERS', key('models'))) do
  local queue = key('queue', model)
  push(queues, model, redis.call('ZCARD', queue), text(oldest(queue)))
end
local living = redis.call('ZRANGEBYSCORE', key('workers'), text(time), '+inf', 'WITHSCORES')
for place = 1, #living, 2 do
  local said = redis.call('HGET', key('workers', 'about'), living[place])
  if said then push(workers, said, text(tonumber(living[place + 1]) - time)) end
end
return {bounds, redis.call('HGETALL', key('figures')), queues, redis.call('ZCARD', key('running')), workers}
