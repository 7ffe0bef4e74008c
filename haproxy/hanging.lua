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
    -- Apache passes requests on to all servers, so it is cut only once for each server that hangs.
    local hanging = {}
    while true do
        for name, server in pairs(files) do
            local stats = server:get_stats()
            if stats.status == "DOWN" and TIMED_OUT[stats.check_status] then
                cut(dynamic[name])
                -- Apache itself notices a server that hangs only after its ProxyTimeout.
                if not hanging[name] then
                    take_out(files.apache)
                    cut(dynamic.apache)
                end
                hanging[name] = true
            else
                hanging[name] = nil
            end
        end
        core.msleep(250)
    end
end)
