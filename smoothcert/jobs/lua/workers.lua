#!lua flags=no-writes
-- Returns the status of each living worker.
local statuses = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), text(now()), '+inf')) do
  local status = redis.call('HGET', key('workers', 'status'), worker)
  if status then statuses[#statuses + 1] = status end
end
return statuses
