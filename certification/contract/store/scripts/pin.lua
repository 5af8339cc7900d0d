-- The set-up that casts every vote of this job, written once. Answers 0 when the fence is lost.
local id, fence, engine, platform = unpack(ARGV, 1, 4)
if not holds(id, fence) then return 0 end
redis.call('HSETNX', key('job', id), 'engine', engine)
redis.call('HSETNX', key('job', id), 'platform', platform)
return 1
