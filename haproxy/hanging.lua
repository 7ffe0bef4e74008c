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

core.register_task(function()
    local files = core.backends.static_backend.servers
    local dynamic = core.backends.dynamic_backend.servers
    while true do
        for name, server in pairs(files) do
            local stats = server:get_stats()
            if stats.status == "DOWN" and TIMED_OUT[stats.check_status] then
                -- Apache itself notices a server that hangs only after its ProxyTimeout.
                take_out(files.apache)
                for _, other in ipairs({ name, "apache" }) do
                    take_out(dynamic[other])
                    if dynamic[other] then
                        dynamic[other]:shut_sess()
                    end
                end
            end
        end
        core.msleep(250)
    end
end)
