-- What HAProxy itself answers to an error: templates/error.html to browsers (txn.page in haproxy.cfg), JSON to others.
-- A container from before this folder was mounted has plain answers.

local function read(name, default)
    local file = io.open("/srv/project/templates/" .. name)
    return file and file:read("a") or default
end

-- HAProxy would send a line break as %0A.
local page = read("error.html", "<h1>{{ detail }}</h1>"):gsub("%s+", " ")
local words = {}
for status, detail in ("\n" .. read("errors.conf", "")):gsub("%$upload_limit", ""):gmatch('\n(%d+) "([^\n]*)";') do
    words[status] = detail
end

core.register_fetches("error", function(txn, status)
    local detail = words[status] or "The server could not answer. Please try again shortly."
    if not txn:get_var("txn.page") then
        return '{"detail": "' .. detail .. '"}'
    end
    return (page:gsub("{{ (%a+) }}", { status = status, detail = detail }))
end)
