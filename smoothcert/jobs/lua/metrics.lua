#!lua flags=no-writes
-- Returns {histogram bounds in seconds, {counter, value, ...}, {model, jobs waiting, age of the oldest in microseconds, ...},
-- jobs running, {status of a living worker, microseconds until it counts as gone, ...}}.
local time, bounds, depth, age, queues, workers = now(), {}, {}, {}, {}, {}
for place, bound in ipairs(BOUNDS) do bounds[place] = tostring(bound) end

for _, queue in ipairs(queue_names()) do
  local model = string.match(queue, '^certify%.([^:]+)')
  local first = redis.call('ZRANGE', key('waiting', queue), 0, 0)[1]
  depth[model] = (depth[model] or 0) + redis.call('ZCARD', key('waiting', queue))
  age[model] = math.max(age[model] or 0, first and time - number(first, 'waiting_since') or 0)
end
for model, jobs in pairs(depth) do
  queues[#queues + 1], queues[#queues + 2], queues[#queues + 3] = model, jobs, text(age[model])
end
local living = redis.call('ZRANGEBYSCORE', key('workers'), text(time), '+inf', 'WITHSCORES')
for place = 1, #living, 2 do
  local status = redis.call('HGET', key('workers', 'status'), living[place])
  if status then workers[#workers + 1], workers[#workers + 2] = status, text(tonumber(living[place + 1]) - time) end
end
return {bounds, redis.call('HGETALL', key('metrics')), queues, redis.call('SCARD', key('running')), workers}
