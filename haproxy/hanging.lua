-- A server that hangs accepts requests and never answers: they would wait for `timeout server`. Once static_backend's
-- checks, which nginx answers alone, have timed out, this takes the server out of dynamic_backend and ends its
-- requests there. retry_backend in haproxy.cfg sends them again, or answers 502.
-- `on-marked-down shutdown-sessions` would also end those of a server that stops: it refuses new connections while
-- it still answers.

local TIMED_OUT = { L4TOUT = true, L7TOUT = true }

-- Its own next good checks bring it back.
local function take_out(server)
    if server and server:get_stats().status:find("^UP") then
        server:check_force_down()
    end
end

local function cut(server)
    take_out(server)
    if server then
        server:shut_sess()
    end
end

core.register_task(function()
    local files = core.backends.static_backend.servers
    local dynamic = core.backends.dynamic_backend.servers
    -- Only where SLOW_PATHS is set.
    local slow = core.backends.slow_backend and core.backends.slow_backend.servers or {}
    local streams = core.backends.stream_backend and core.backends.stream_backend.servers or {} -- remove_asgi
    -- Until it is up again: its requests are cut once. The checks of dynamic_backend may be good before those of files.
    local hanging = {}
    while true do
        for name, server in pairs(files) do
            local stats = server:get_stats()
            if stats.status:find("^UP") then
                hanging[name] = nil
            elseif stats.status == "DOWN" and TIMED_OUT[stats.check_status] and not hanging[name] then
                hanging[name] = true
                cut(dynamic[name])
                cut(slow[name])
                cut(streams[name]) -- remove_asgi
                -- remove_apache: begin
                -- Apache passes requests on to all servers and notices one that accepts them and hangs only after its
                -- ProxyTimeout. Its own check notices an address without a server (L4TOUT).
                if stats.check_status == "L7TOUT" then
                    take_out(files.apache)
                    cut(dynamic.apache)
                end
                -- remove_apache: end
            end
        end
        core.msleep(250)
    end
end)
