#!lua flags=allow-oom
-- This worker cannot go on with the votes there are (its weights differ): a new epoch, of which it has range 0.
-- Answers the epoch, or 0 when the job has ended or begun anew meanwhile. args: id, epoch, task, delivery,
-- worker, ttl.
local id = args.id
local status, epoch = get(id, 'status', 'epoch')
if status ~= 'running' or tonumber(epoch) ~= args.epoch then return 0 end
local fresh = restart(id)
take(id)
touch(id)
return fresh
