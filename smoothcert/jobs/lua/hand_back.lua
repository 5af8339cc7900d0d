-- The holder lets go of its own will (others wait, or it shuts down): that attempt doesn't count as a failed one.
local id, fence, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not holds(id, fence) then return 0 end
write_even_when_full(id, ttl)
redis.call('HINCRBY', key('job', id), 'attempts', -1)
requeue(id, ttl)
tally(1, 'handed_back', get(id, 'model'))
return 1
