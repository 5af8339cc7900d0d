-- The counts that came in and are not yet in the state, as {1, start, counts, start, counts, ...}, for the holder; {0} when
-- its fence is lost.
local id, fence = ARGV[1], ARGV[2]
if not holds(id, fence) then return {0} end
local counts = redis.call('HGETALL', key('counts', id))
table.insert(counts, 1, 1)
return counts
