-- What is reached so far, all of it in one write, and a longer lease. Answers -1 when the fence is lost, else the
-- number of jobs that wait for this worker's models. `votes` and `spent` (microseconds): since the last report. ARGV[10...]
-- are the starts of the portions that this state has taken up. A division that can't go on from here is over.
local id, fence, lease, state, progress, certificate, ttl, votes, spent = unpack(ARGV, 1, 9)
if not holds(id, fence) then return -1 end
write_even_when_full(id, tonumber(ttl))
redis.call('HSET', key('job', id), 'state', state, 'progress', progress)
if #ARGV > 9 then redis.call('HDEL', key('counts', id), unpack(ARGV, 10)) end
if get(id, 'division') and not continues(id, text(cjson.decode(progress).samples)) then undivide(id) end
if certificate ~= '' then redis.call('HSET', key('job', id), 'certificate', certificate) end
worked(id, votes, spent)
renew(id, tonumber(lease), tonumber(ttl))
touch(id, tonumber(ttl))
return waiting(models_of(get(id, 'holder')))
