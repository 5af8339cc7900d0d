-- A longer lease, nothing else. Answers 0 when the fence is lost.
local id, fence, lease, ttl = unpack(ARGV, 1, 4)
if not holds(id, fence) then return 0 end
write_even_when_full(id, tonumber(ttl))
renew(id, tonumber(lease), tonumber(ttl))
return 1
