-- What is reached so far, all of it in one write, and a longer lease. Answers -1 when the fence is lost, else the
-- number of jobs that wait for this worker's models.
local id, fence, lease, state, progress, certificate, ttl = unpack(ARGV, 1, 7)
if not holds(id, fence) then return -1 end
write_even_when_full(id, tonumber(ttl))
redis.call('HSET', key('job', id), 'state', state, 'progress', progress)
if certificate ~= '' then redis.call('HSET', key('job', id), 'certificate', certificate) end
renew(id, tonumber(lease), tonumber(ttl))
touch(id, tonumber(ttl))
return waiting(models_of(get(id, 'holder')))
