#!lua
-- Takes one request from a caller's quota: `quota` per `window` seconds, refilled steadily (generic cell rate algorithm: only
-- the time when the quota will be full again is stored). Returns {taken, remaining, seconds to full, seconds to one}.
-- args: caller, quota, window.
local window = args.window * 1000000
local place, time, step = key('rate', args.caller), now(), window / args.quota

local function seconds(microseconds)
  return math.ceil(math.max(microseconds, 0) / 1000000)
end

local debt = math.max(tonumber(redis.call('GET', place) or 0) - time, 0)
debt = math.min(debt, window)  -- it can only be more if the clock was set back
local taken = debt + step <= window and 1 or 0
if taken == 1 then
  debt = debt + step
  redis.call('SET', place, text(time + debt), 'PX', text(math.ceil(debt / 1000) + 1000))
end
return {taken, math.floor((window - debt) / step + 1e-6), seconds(debt), seconds(debt + step - window)}
