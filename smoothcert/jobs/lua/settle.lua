-- The holder ends its job, with a certificate or an error. `votes` and `spent` (microseconds): since the last report.
local id, fence, status, progress, certificate, error, ttl, votes, spent = unpack(ARGV, 1, 9)
if not holds(id, fence) then return 0 end
write_even_when_full(id, tonumber(ttl))
local hash = key('job', id)
if progress ~= '' then redis.call('HSET', hash, 'progress', progress) end
if certificate ~= '' then redis.call('HSET', hash, 'certificate', certificate) end
if error ~= '' then redis.call('HSET', hash, 'error', error) end
worked(id, votes, spent)
settle(id, status, tonumber(ttl), string.find(error, '"status":422') and 'refused')
return 1
