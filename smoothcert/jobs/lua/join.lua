-- What a worker must know to share a job: {} unless it is divided and pinned to what this worker computes on.
local id, platform = ARGV[1], ARGV[2]
local job = redis.call('HMGET', key('job', id), 'status', 'platform', 'division', 'model', 'parameters', 'seed', 'engine',
  'weights', 'request')
if job[1] ~= 'running' or job[2] ~= platform or not job[3] then return {} end
return {unpack(job, 3, 9)}
