-- A worker brings the counts of its portion (`votes` of them in `spent` microseconds), if it has one, and takes the next.
-- Answers {brought, portion}, where `brought` is 1 unless its ticket was no longer good, and `portion` is {start, stop,
-- ticket}, or {} when there is none for this worker now.
local id, division, worker = unpack(ARGV, 1, 3)
local lease, want, batch, max_tries = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local error, ttl = ARGV[8], tonumber(ARGV[9])
local start, ticket, counts, votes, spent = unpack(ARGV, 10, 14)
local hash, portions = key('job', id), key('portions', id)

local function bring()
  local out = redis.call('HGET', portions, start)
  if not out or cjson.decode(out).ticket ~= ticket then return 0 end
  redis.call('HDEL', portions, start)
  redis.call('HSET', key('counts', id), start, counts)
  worked(id, votes, spent)
  return 1
end

-- Whether this worker may go on: the job is held, still divided as it was, and nobody waits whom the helper could serve.
local function goes_on(job)
  local status, holder, expiry = unpack(job, 1, 3)
  if status ~= 'running' or tonumber(expiry) <= now() then return false end
  return holder == worker or waiting(models_of(worker)) == 0
end

-- The first portion whose taker is silent. A worker has one at a time: who took its own is dead.
local function abandoned()
  local first, found = math.huge, nil
  local out = redis.call('HGETALL', portions)
  for i = 1, #out, 2 do
    local portion = cjson.decode(out[i + 1])
    local free = portion.worker == worker or tonumber(portion.expires) <= now()
    if free and tonumber(out[i]) < first then first, found = tonumber(out[i]), portion end
  end
  return first, found
end

-- About as many new votes as wanted, up to where a batch ends. Towards the end less, half of a fair share of what is left:
-- so all end together.
local function fresh(job)
  local first, n = tonumber(job[4]), cjson.decode(job[5]).n
  if first >= n then return nil, nil end
  local fair = math.ceil((n - first) / (2 * (redis.call('HLEN', portions) + 1)))
  local stop = first + math.max(math.min(want, fair), batch)
  stop = math.min(n, stop - stop % batch)
  redis.call('HSET', hash, 'next', text(stop))
  return first, {stop = text(stop), tries = 0}
end

if get(id, 'division') ~= division then return {counts == '' and 1 or 0, {}} end
write_even_when_full(id, ttl)
local brought = counts == '' and 1 or bring()
local job = redis.call('HMGET', hash, 'status', 'holder', 'lease', 'next', 'parameters')
if want == 0 or not goes_on(job) then return {brought, {}} end

local first, portion = abandoned()
if not portion then first, portion = fresh(job) end
if not portion then return {brought, {}} end
if portion.tries >= max_tries then
  redis.call('HSET', hash, 'error', error)
  settle(id, 'failed', ttl, 'exhausted')
  return {brought, {}}
end
portion.tries = portion.tries + 1
portion.ticket = fresh_number(id, 'tickets')
portion.worker, portion.expires = worker, text(now() + lease)
redis.call('HSET', portions, text(first), cjson.encode(portion))
redis.call('EXPIRE', portions, ttl)
redis.call('EXPIRE', key('counts', id), ttl)
return {brought, {text(first), portion.stop, portion.ticket}}
