#!lua flags=allow-oom
-- Records the heartbeat of a worker's parent (list 'workers') or its child ('children'), and removes expired entries.
-- Returns the status of the worker's child, or nil. args: list, worker, status (JSON; '' if it has stopped), silence
-- (seconds until it counts as gone).
local DAY, HASHES = 86400, {workers = key('workers', 'status'), children = key('workers', 'child')}
local time, list, hash = now(), key(args.list), HASHES[args.list]

local function forget(worker)
  redis.call('ZREM', list, worker)
  redis.call('HDEL', hash, worker)
end

for _, dead in ipairs(redis.call('ZRANGEBYSCORE', list, '-inf', text(time))) do
  if dead ~= args.worker then forget(dead) end
end
if args.status == '' then return forget(args.worker) end
redis.call('ZADD', list, text(time + args.silence * 1000000), args.worker)
redis.call('HSET', hash, args.worker, args.status)
-- If the clock was set back, older scores lie too far in the future: cap them.
for _, other in ipairs(redis.call('ZRANGEBYSCORE', list, text(time), '+inf')) do
  local status = redis.call('HGET', hash, other)
  local latest = time + (status and cjson.decode(status).silence or 0) * 1000000
  if tonumber(redis.call('ZSCORE', list, other)) > latest then redis.call('ZADD', list, text(latest), other) end
end
redis.call('EXPIRE', list, DAY)
redis.call('EXPIRE', hash, DAY)
return redis.call('HGET', HASHES.children, args.worker)
