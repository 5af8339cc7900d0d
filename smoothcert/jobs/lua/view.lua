-- The public fields of each job asked for; an empty row where there is none.
local rows = {}
for _, id in ipairs(ARGV) do
  rows[#rows + 1] = row_of(id)
end
return rows
