-- A longer lease, nothing else. Answers 0 when the fence is lost.
local id, fence, lease = unpack(ARGV, 1, 3)
if not holds(id, fence) then return 0 end
renew(id, tonumber(lease))
return 1
