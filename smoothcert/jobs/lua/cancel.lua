#!lua flags=allow-oom
-- Cancels a job; its best certificate so far is already in the record. Returns 1, 0 (it had ended before) or -1 (there is
-- no such job). args: id, ttl.
local status = get(args.id, 'status')
if not status then return -1 end
if is_terminal(status) then return 0 end
settle(args.id, 'cancelled')
return 1
