-- The holder ends its job, with a certificate or an error.
local id, fence, status, progress, certificate, error, ttl = unpack(ARGV, 1, 7)
if not holds(id, fence) then return 0 end
write_even_when_full(id, tonumber(ttl))
local hash = key('job', id)
if progress ~= '' then redis.call('HSET', hash, 'progress', progress) end
if certificate ~= '' then redis.call('HSET', hash, 'certificate', certificate) end
if error ~= '' then redis.call('HSET', hash, 'error', error) end
settle(id, status, tonumber(ttl))
return 1
