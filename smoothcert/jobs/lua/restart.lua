#!lua flags=allow-oom
-- Restarts a job whose votes this worker can't continue, as its weights differ. The task gets range 0 of the new epoch.
-- Returns the epoch, or 0 if the job had ended or restarted before. args: id, epoch, task, delivery, worker, ttl.
local id = args.id
local status, epoch = get(id, 'status', 'epoch')
if status ~= 'running' or tonumber(epoch) ~= args.epoch then return 0 end
local fresh = restart(id)
take(id)
touch(id)
return fresh
