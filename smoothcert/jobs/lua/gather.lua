-- The counts that came in and are not yet in the state, as {1, start, counts, start, counts, ...}, for the holder; {0} when
-- its fence is lost, {2} when its division is over although it holds the job.
local id, fence, division = unpack(ARGV, 1, 3)
if not holds(id, fence) then return {0} end
if get(id, 'division') ~= division then return {2} end
local counts = redis.call('HGETALL', key('counts', id))
table.insert(counts, 1, 1)
return counts
