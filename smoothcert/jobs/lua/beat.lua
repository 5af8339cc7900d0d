-- A sign of life of one worker; those whose time is over are forgotten.
local worker, description, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = now()
redis.call('EXPIRE', key('workers'), 86400)  -- first of all, for a full server refuses no write after one that needs no memory
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), '-inf', text(time))) do
  redis.call('ZREM', key('workers'), dead)
  redis.call('HDEL', key('workers', 'about'), dead)
  redis.call('HDEL', key('workers', 'platform'), dead)
end
if description == '' then
  redis.call('ZREM', key('workers'), worker)
  redis.call('HDEL', key('workers', 'about'), worker)
  redis.call('HDEL', key('workers', 'platform'), worker)
  return
end
redis.call('ZADD', key('workers'), text(time + ttl * 1000000), worker)
redis.call('HSET', key('workers', 'about'), worker, description)
-- Whoever could be silent for longer than it said spoke before the clock was set back.
for _, other in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), text(time), '+inf')) do
  local said = redis.call('HGET', key('workers', 'about'), other)
  local latest = time + (said and cjson.decode(said).silence or 0) * 1000000
  if tonumber(redis.call('ZSCORE', key('workers'), other)) > latest then redis.call('ZADD', key('workers'), text(latest), other) end
end
redis.call('EXPIRE', key('workers'), 86400)  -- all workers share these, so not the ttl of one
redis.call('EXPIRE', key('workers', 'about'), 86400)
redis.call('EXPIRE', key('workers', 'platform'), 86400)
