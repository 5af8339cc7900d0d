-- A helper keeps its portion for longer. Answers 0 when the job goes on without it.
local id, division, worker, lease = unpack(ARGV, 1, 4)
if get(id, 'division') ~= division then return 0 end
redis.call('HDEL', key('job', id), '')  -- a write that needs no memory: a full server refuses none that follow
extend_portions(id, worker, text(now() + tonumber(lease)))
return 1
