-- What casts every vote of this job (set-up, platform, weights), written once. Answers 0 when the fence is lost.
local id, fence, engine, platform, weights = unpack(ARGV, 1, 5)
if not holds(id, fence) then return 0 end
redis.call('HDEL', key('job', id), '')  -- a write that needs no memory: a full server refuses none that follow
redis.call('HSETNX', key('job', id), 'engine', engine)
redis.call('HSETNX', key('job', id), 'platform', platform)
redis.call('HSETNX', key('job', id), 'weights', weights)
return 1
