-- What a worker computes on, told before its first job, so that it may be asked to share one.
local worker, platform = ARGV[1], ARGV[2]
redis.call('EXPIRE', key('workers', 'platform'), 86400)  -- after a write that needs no memory, a full server refuses none
redis.call('HSET', key('workers', 'platform'), worker, platform)
redis.call('EXPIRE', key('workers', 'platform'), 86400)
