#!lua flags=allow-oom
-- Ends a job with its certificate or an error. Returns 1, or 0 if it had ended or restarted before.
-- args: id, epoch, status, progress, certificate, error, votes, spent (microseconds), ttl.
local id = args.id
local status, epoch, model = get(id, 'status', 'epoch', 'model')
if status ~= 'running' or tonumber(epoch) ~= args.epoch then return 0 end
if args.progress ~= '' then set(id, 'progress', args.progress) end
if args.certificate ~= '' then set(id, 'certificate', args.certificate) end
if args.error ~= '' then set(id, 'error', args.error) end
if args.votes > 0 then
  count(args.votes, 'votes', model)
  observe('chunk', model, args.spent)
end
settle(id, args.status, string.find(args.error, '"status":422') and 'refused')
return 1
