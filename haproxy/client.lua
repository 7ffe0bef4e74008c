-- Who the client of a trusted proxy is (TRUSTED_PROXIES, docs/behind-a-proxy.md): in X-Forwarded-For the rightmost
-- address that is no trusted proxy's. What is left of it may be the client's own words. Where only proxies are named,
-- the leftmost of them; where a value is no address, what is right of it.

local trusted = {}
-- haproxy/start writes it.
for network in io.lines("/var/lib/haproxy/trusted-proxies") do
    trusted[#trusted + 1] = core.parse_addr(network)
end

local function is_trusted(address)
    local parsed = core.parse_addr(address)
    for _, network in ipairs(trusted) do
        if core.match_addr(parsed, network) then
            return true
        end
    end
    return false
end

local function is_v4(text)
    local count = 0
    for octet in text:gmatch("[^.]+") do
        count = count + 1
        if not octet:match("^%d%d?%d?$") or octet:match("^0%d") or tonumber(octet) > 255 then
            return false
        end
    end
    return count == 4 and not text:match("%.%.") and not text:match("^%.") and not text:match("%.$")
end

-- 192.0.2.1, 192.0.2.1:443, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:443; nil for all else.
local function address(entry)
    local text = entry:match("^%s*(.-)%s*$")
    text = text:match("^%[(.*:.*)%]$") or text:match("^%[(.*:.*)%]:%d+$") or text:match("^([%d.]+):%d+$") or text
    -- An IPv4 client of a server that listens on IPv6.
    text = text:match("^::[fF][fF][fF][fF]:([%d.]+)$") or text
    if is_v4(text) or (text:match("^[%x:.]*:[%x:.]*$") and core.parse_addr(text)) then
        return text
    end
end

core.register_action("client", { "http-req" }, function(txn)
    local lines = txn.http:req_get_headers()["x-forwarded-for"] or {}
    -- Counted from 0.
    for number = #lines, 0, -1 do
        local entries = {}
        for entry in ((lines[number] or "") .. ","):gmatch("(.-),") do
            table.insert(entries, 1, entry)
        end
        for _, entry in ipairs(entries) do
            local client = address(entry)
            if not client then
                return
            end
            txn:set_var("txn.client", client)
            if not is_trusted(client) then
                return
            end
        end
    end
end)
