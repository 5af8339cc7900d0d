-- The holder opens its job to others, from vote `drawn` on, if any could come. Answers {idle workers, division}: {-1} when
-- the fence is lost, {0} when nobody is idle or the record is not at `drawn`, where others would have to begin.
local id, fence, drawn = unpack(ARGV, 1, 3)
if not holds(id, fence) then return {-1} end
local hash = key('job', id)
local job = redis.call('HMGET', hash, 'model', 'platform', 'progress', 'division')
local model, platform, progress, division = unpack(job, 1, 4)

local busy = {}
for _, other in ipairs(redis.call('ZRANGE', key('running'), 0, -1)) do
  busy[get(other, 'holder') or ''] = true
  for _, portion in ipairs(redis.call('HVALS', key('portions', other))) do busy[cjson.decode(portion).worker] = true end
end
local idle = 0
for _, worker in ipairs(living_workers()) do
  if not busy[worker] and platform_of(worker) == platform and has_model(worker, model) then idle = idle + 1 end
end

if division and not continues(id, drawn) then
  undivide(id)
  division = nil
end
if not division then
  if idle == 0 or cjson.decode(progress).samples ~= tonumber(drawn) then return {0} end
  division = fresh_number(id, 'tickets')
  redis.call('HSET', hash, 'division', division, 'next', drawn)
end
return {idle, division}
