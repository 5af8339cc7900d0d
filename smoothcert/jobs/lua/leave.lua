-- A worker puts its portion back untouched; that doesn't count as a portion lost.
local id, start, ticket = unpack(ARGV, 1, 3)
local out = redis.call('HGET', key('portions', id), start)
local portion = out and cjson.decode(out)
if not portion or portion.ticket ~= ticket then return end
redis.call('HDEL', key('job', id), '')  -- a write that needs no memory: a full server refuses none that follow
portion.ticket, portion.worker, portion.expires, portion.tries = '', '', '0', portion.tries - 1
redis.call('HSET', key('portions', id), start, cjson.encode(portion))
