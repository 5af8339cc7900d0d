-- What the living workers say of themselves.
local about = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), text(now()), '+inf')) do
  local said = redis.call('HGET', key('workers', 'about'), worker)
  if said then about[#about + 1] = said end
end
return about
