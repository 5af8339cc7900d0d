-- The public fields of each job asked for, with its place in the queue; an empty row where there is none.
local fields = {'status', 'model', 'parameters', 'progress', 'certificate', 'error', 'created', 'started',
  'finished', 'attempts', 'version', 'owner'}
local rows = {}
for _, id in ipairs(ARGV) do
  local row = redis.call('HMGET', key('job', id), unpack(fields))
  if row[1] then
    row[#fields + 1] = redis.call('ZRANK', key('queue', row[2]), id)
    rows[#rows + 1] = row
  else
    rows[#rows + 1] = {}
  end
end
return rows
