#!lua flags=no-writes
-- The public fields of each job asked for; an empty row where there is none. args: ids.
local rows = {}
for _, id in ipairs(args.ids) do rows[#rows + 1] = row_of(id) end
return rows
