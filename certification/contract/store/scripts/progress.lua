-- What is reached so far, all of it in one write, and a longer lease. Answers -1 when the fence is lost, else the
-- number of jobs that wait for this worker's models. `votes` and `spent` (microseconds): since the last report.
local id, fence, lease, state, progress, certificate, ttl, votes, spent = unpack(ARGV, 1, 9)
if not holds(id, fence) then return -1 end
write_even_when_full(id, tonumber(ttl))
redis.call('HSET', key('job', id), 'state', state, 'progress', progress)
if certificate ~= '' then redis.call('HSET', key('job', id), 'certificate', certificate) end
worked(id, votes, spent)
renew(id, tonumber(lease), tonumber(ttl))
touch(id, tonumber(ttl))
return waiting(models_of(get(id, 'holder')))
