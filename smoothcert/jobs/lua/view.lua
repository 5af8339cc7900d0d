#!lua flags=no-writes
-- Returns the public fields of each of these jobs; an empty row if there is no such job. args: ids.
local rows = {}
for _, id in ipairs(args.ids) do rows[#rows + 1] = row_of(id) end
return rows
