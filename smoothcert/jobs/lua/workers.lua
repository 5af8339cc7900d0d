#!lua flags=no-writes
-- The status of each living worker.
local about = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), text(now()), '+inf')) do
  local status = redis.call('HGET', key('workers', 'status'), worker)
  if status then about[#about + 1] = status end
end
return about
