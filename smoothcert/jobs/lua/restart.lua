-- Forgets every vote of this job, for its holder. Answers 0 when the fence is lost.
local id, fence = ARGV[1], ARGV[2]
if not holds(id, fence) then return 0 end
forget_votes(id)  -- begins with a write that needs no memory: a full server refuses none that follow
return 1
