-- A server that hangs accepts requests and never answers: they would wait for `timeout server`. Once static_backend's
-- checks, which nginx answers alone, have timed out, this takes the server out of dynamic_backend and ends its
-- requests there. retry_backend in haproxy.cfg sends them again, or answers 502.
-- `on-marked-down shutdown-sessions` would also end those of a server that stops: it refuses new connections while
-- it still answers.

local TIMED_OUT = { L4TOUT = true, L7TOUT = true }

local function end_requests(server)
    -- Its own next good checks bring it back.
    if server:get_stats().status:find("^UP") then
        server:check_force_down()
    end
    server:shut_sess()
end

core.register_task(function()
    local checked = core.backends.static_backend.servers
    local dynamic = core.backends.dynamic_backend.servers
    while true do
        for name, server in pairs(checked) do
            local stats = server:get_stats()
            if stats.status == "DOWN" and TIMED_OUT[stats.check_status] then
                end_requests(dynamic[name])
                -- Apache notices a server that hangs only after its ProxyTimeout.
                if dynamic.apache then
                    end_requests(dynamic.apache)
                end
            end
        end
        core.msleep(250)
    end
end)
