#!lua flags=allow-oom
-- Stores the counts of a task's range and its state; the task then takes the next range or leaves. A delivery may come
-- twice, late, or from two tasks: counts are stored once, and the state is replaced only by one that covers more ranges.
-- args: id, epoch, task, delivery, worker, ttl, range (-1: none), counts, votes, spent (microseconds), state, folded,
-- progress, certificate, pin {engine, platform, platform_queue, weights, first_votes, range_votes, ranges}, leave (the
-- rest to a successor task), main (false for a helper), share (count idle workers), queues (of this worker).
-- KEYS[2]: the platform's Celery queue.
-- Returns {'over'}, or {'ok', next range, message number (-1: a helper's; 0: none), its queue, folded, state, counts,
-- idle workers}.
local id = args.id
local status, epoch, engine, platform, weights, first, votes, folded, model = get(id, 'status', 'epoch', 'engine', 'platform',
  'weights', 'first_votes', 'range_votes', 'folded', 'model')
if status ~= 'running' or tonumber(epoch) ~= args.epoch then return {'over'} end

if not engine then
  set(id, 'engine', args.pin.engine, 'platform', args.pin.platform, 'weights', args.pin.weights, 'first_votes',
    args.pin.first_votes, 'range_votes', args.pin.range_votes, 'ranges', args.pin.ranges, 'platform_queue', args.pin.platform_queue)
elseif engine ~= args.pin.engine or platform ~= args.pin.platform or weights ~= args.pin.weights
  or tonumber(first) ~= args.pin.first_votes or tonumber(votes) ~= args.pin.range_votes then
  return {'over'}  -- two tasks began without a pin, and the other one set it first
end

folded = tonumber(folded)
local counts = key('counts', id)
if args.range >= 0 then
  redis.call('HDEL', key('tasks', id), 'missing:' .. args.range)
  if args.range >= folded and redis.call('HSETNX', counts, args.range, args.counts) == 1 then
    count(args.votes, 'votes', model)
    observe('chunk', model, args.spent)
  end
  redis.call('EXPIRE', counts, args.ttl)
end
if args.folded > folded then
  set(id, 'state', args.state, 'progress', args.progress, 'folded', args.folded)
  if args.certificate ~= '' then set(id, 'certificate', args.certificate) end
  for range = folded, args.folded - 1 do
    redis.call('HDEL', counts, range)
    redis.call('HDEL', key('tasks', id), 'missing:' .. range)
  end
  folded = args.folded
  touch(id)
end

-- A range that it had, but does not bring: a helper's that failed, or one assigned in a reply that got lost.
local entry = redis.call('HGET', key('tasks', id), args.task)
local given = entry and cjson.decode(entry).range or -1
if given >= folded and given ~= args.range then miss(id, given) end
redis.call('HDEL', key('tasks', id), args.task)

local brought, run = {}, folded
while true do  -- ranges that follow the state without a gap
  local found = redis.call('HGET', counts, run)
  if not found then break end
  brought[#brought + 1], run = found, run + 1
end

-- A helper leaves for jobs that wait for its worker.
local stays = args.main or waiting(args.queues) - (is_waiting(id) and 1 or 0) <= 0
local range, message = -1, 0
if not args.leave then
  if stays then range = take(id) end
  if range < 0 and #brought > 0 then enter(id, -1) end  -- it merges them, then ends the job or leaves
elseif stays then
  local _, free = tasks_of(id)
  if #free > 0 or number(id, 'next') < number(id, 'ranges') then
    -- Behind the jobs that wait in its lane: a worker of another platform sends it on.
    message = args.main and enqueue(id, lane_queue(id)) or -1
    count(1, 'handed_back', model)
  end
end

local idle = 0
if args.share then
  local busy = {}
  for _, other in ipairs(redis.call('SMEMBERS', key('running'))) do
    for _, entry in pairs((tasks_of(other))) do busy[entry.worker] = true end
  end
  for worker, child in pairs(living_children()) do
    if not busy[worker] and has(child, model, args.pin.platform) then idle = idle + 1 end
  end
  idle = math.max(0, idle - redis.call('LLEN', KEYS[2]))
end
local state = folded > args.folded and get(id, 'state') or ''
return {'ok', range, message, message > 0 and lane_queue(id) or KEYS[2], folded, state, brought, idle}
