"""What HAProxy, nginx as the balancer and Apache have to agree on with the servers behind them."""

import re

from ops.environment.contract import VARIABLES
from stackctl_cli import compose as stackctl_compose
from stackctl_cli import haproxy, preflight
from tests.tree import ROOT
from tests.unit.config_files import (
    compose,
    compose_servers,
    dockerfile_environment,
    haproxy_sections,
    haproxy_value,
    health_port,
    httpd_members,
    httpd_value,
    httpd_values,
    nginx_directives,
    nginx_value,
    text_of,
)

LAYERS = ("local", "dev", "production")
APACHE = "apache"
# What nginx keeps in files of its own.
TEMPORARY = ("client_body", "proxy", "uwsgi", "fastcgi", "scgi")


def backend_servers() -> dict[str, dict[str, str]]:
    """Return the servers of each of HAProxy's backends and their addresses, Apache aside."""
    return {
        section: {name: place for name, place in members.items() if name != APACHE}
        for section, members in backend_members().items()
    }


def backend_members() -> dict[str, dict[str, str]]:
    """Return whom each of HAProxy's backends asks, and where."""
    return {
        section: {line.split()[1]: line.split()[2] for line in lines if line.startswith("server ")}
        for section, lines in haproxy_sections().items()
        if section.startswith("backend ") and section != "backend retry_backend"
    }


def test_haproxy_s_servers_are_compose_s() -> None:
    servers = compose_servers()
    backends = backend_servers()

    assert len(servers) >= 2
    assert set(backends) == {
        "backend static_backend",
        "backend upload_backend",
        "backend dynamic_backend",
    }
    for addresses in backends.values():
        assert addresses == {name: f"{name}:{health_port()}" for name in servers}
    for name in servers:
        # Docker's name server answers for host names too, also for those of other containers.
        assert "hostname" not in compose()["services"][name]
        # One that may be off is not waited for.
        optional = "scale" in compose()["services"][name]
        assert optional or name in compose()["services"]["haproxy"]["depends_on"]


def test_static_files_have_health_checks_that_nginx_answers_alone() -> None:
    """The same checks as the dynamic backend's but for the path; 404 once the server drains."""
    sections = haproxy_sections()
    static, dynamic = sections["backend static_backend"], sections["backend dynamic_backend"]

    assert not [line for line in static if " track " in line]
    for line in dynamic:
        if line.startswith(("option httpchk", "http-check", "default-server check")):
            assert line.replace("/readyz", "/readyz/files") in static
        if line.startswith("default-server observe"):
            assert line in static
    own = [one for one in nginx_directives() if "location = /readyz/files" in one.blocks]
    drain_file = dockerfile_environment("Dockerfile.base")["DRAIN_FILE"]
    assert {one.name for one in own} == {"default_type", "add_header", "return"}
    assert [one.blocks[-1] for one in own if one.arguments[0] == "404"] == [f"if (-f {drain_file})"]
    # `stackctl drain` takes a server out of both.
    assert haproxy.CHECKED == ("dynamic_backend", "static_backend")


def test_the_upload_backend_follows_the_checks_of_the_dynamic_one() -> None:
    """Also in what a 404 means, or HAProxy would not start."""
    sections = haproxy_sections()
    other, dynamic = sections["backend upload_backend"], sections["backend dynamic_backend"]

    for line in other:
        if line.startswith("server "):
            assert line.endswith(f"track dynamic_backend/{line.split()[1]}")
    for option in ("option httpchk", "http-check disable-on-404"):
        assert option in other and option in dynamic


def test_the_third_server_is_there_on_demand_alone() -> None:
    """In compose, in each of HAProxy's backends and on the status page, by one variable."""
    assert compose()["services"]["server3"]["scale"] == "0${SERVER3:+1}"
    assert "${SERVER3:+,set3=server3:" in compose()["x-environment"]["SERVERS"]
    for name in backend_servers():
        lines = haproxy_sections()[name]
        (place,) = (number for number, line in enumerate(lines) if "server3" in line)
        assert (lines[place - 1], lines[place + 1]) == ('.if streq("${SERVER3}",1)', ".endif")


def test_apache_is_there_on_demand_alone() -> None:
    """In compose, and in the backends of short requests, by one variable."""
    service = compose()["services"][APACHE]
    layers = compose("docker-compose.layers.yaml")["services"]
    address = f"{APACHE}:{httpd_value('Listen')}"
    members = {section: found.get(APACHE) for section, found in backend_members().items()}

    assert service["extends"]["service"] == "apache${APACHE:+-on}"
    # Without it nothing is started, and no image of its own asked for.
    assert layers["apache"] == {"image": compose()["services"]["haproxy"]["image"], "scale": 0}
    assert members == {
        "backend static_backend": address,
        "backend dynamic_backend": address,
        "backend upload_backend": None,
    }
    for section in ("backend static_backend", "backend dynamic_backend"):
        lines = haproxy_sections()[section]
        (place,) = (number for number, line in enumerate(lines) if line.startswith("server apache"))
        start = lines.index('.if streq("${APACHE}",1)')
        assert start < place < lines.index(".endif", start)


def test_apache_agrees_with_the_rest() -> None:
    service = compose()["services"][APACHE]
    mounts = {text.split(":")[1]: text.split(":")[0] for text in service["volumes"]}
    written = tuple(f"{mount.partition(':')[0]}/" for mount in service["tmpfs"])
    (published,) = compose("docker-compose.layers.yaml")["services"]["apache-on"]["ports"]
    names = [address.rpartition(":")[0] for address in httpd_members()]

    assert names == [f"http://{name}" for name in compose_servers()]
    assert {address.rpartition(":")[2] for address in httpd_members()} == {health_port()}
    # A name that is gone stands for an address where nobody listens.
    assert service["extra_hosts"] == [f"{name}=127.0.0.1" for name in compose_servers()]
    assert f"/dev/tcp/127.0.0.1/{httpd_value('Listen')}" in text_of("apache/ask")
    assert published.endswith(f":{httpd_value('Listen')}")
    # Its user is the one of the servers, who wrote the files.
    assert service["user"] == compose()["services"]["nginx-balancer"]["user"]
    assert mounts["/srv/kept/static"] == "static"
    assert f"{httpd_value('DocumentRoot')}/static" in text_of("nginx/keep_static.py")
    assert mounts["/usr/local/errors"] == "./nginx/errors"
    pages = {value.split()[1].rpartition("/")[2] for value in httpd_values("ErrorDocument")}
    assert pages == {path.name for path in (ROOT / "nginx/errors").iterdir()}
    for name in ("PidFile", "DefaultRuntimeDir"):
        assert f"{httpd_value(name)}/".startswith(written)
    (drain,) = re.findall(r"^drain=(\S+)$", text_of("apache/start"), re.MULTILINE)
    assert drain.startswith(written)
    assert f"{drain} -f" in httpd_values("RewriteCond")


def test_apache_says_to_haproxy_what_haproxy_tries_again() -> None:
    head, _, body = text_of("apache/again.asis").partition("\n\n")
    status = head.split()[1]
    lines = haproxy_sections()["backend dynamic_backend"]

    assert f"http-request set-header X-Retry-On {status}" in lines
    assert f"retry-on conn-failure empty-response {status}" in lines
    assert f"http-response set-status 502 if {{ status {status} }}" in lines
    assert f"%{{HTTP:X-Retry-On}} ={status} [NV]" in httpd_values("RewriteCond")
    assert body == text_of("nginx/errors/502.json")
    assert "retry-on conn-failure empty-response" in haproxy_sections()["defaults"]


def test_apache_takes_the_bodies_that_nginx_takes() -> None:
    largest = int(nginx_value("client_max_body_size").removesuffix("m")) * 1024**2

    assert httpd_value("LimitRequestBody") == str(largest)
    assert f"expr \"req_novary('Content-Length') -gt {largest}\"" in httpd_values("RewriteCond")


def test_apache_believes_whom_nginx_believes() -> None:
    """Of who the client is, and which ids of requests."""
    private = [item.arguments[0] for item in nginx_directives() if item.name == "set_real_ip_from"]
    told = " ".join(httpd_values("SetEnvIfExpr"))

    assert private == re.findall(r"-R '([^']+)'", told)
    (wanted,) = re.findall(r'"~\^(\S+)\$" \$http_x_request_id', text_of("nginx/nginx.conf"))
    assert f"/^({wanted})$/" in told


def test_haproxy_balances_as_it_is_told() -> None:
    """Uploads too where a client has a server of its own; else they go where fewest are."""
    told = 'balance "${HAPROXY_BALANCE}"'
    sections = haproxy_sections()

    assert told in sections["backend dynamic_backend"]
    assert told in sections["backend static_backend"]
    upload = sections["backend upload_backend"]
    start = upload.index('.if streq("${HAPROXY_BALANCE}",source)')
    assert upload[start + 1 : start + 6] == [
        *("balance source", "hash-type consistent"),
        *(".else", "balance leastconn", ".endif"),
    ]
    assert "source" in VARIABLES["HAPROXY_BALANCE"].choices


def test_nginx_as_the_balancer_agrees_with_the_rest() -> None:
    service = compose()["services"]["nginx-balancer"]
    listen = {
        item.arguments[0]
        for item in nginx_directives("nginx-balancer/nginx.conf")
        if item.name == "listen"
    }
    written = {
        *(nginx_value(f"{kind}_temp_path", name="nginx-balancer/nginx.conf") for kind in TEMPORARY),
        nginx_value("pid", name="nginx-balancer/nginx.conf"),
        nginx_value("include", name="nginx-balancer/nginx.conf"),
    }
    follow = text_of("nginx-balancer/follow.py")

    assert listen == {service["ports"][0].rpartition(":")[2]}
    assert f"\nPORT = {listen.pop()}\n" in text_of("nginx-balancer/healthcheck")
    mounts = tuple(f"{mount.partition(':')[0]}/" for mount in service["tmpfs"])
    assert [path for path in written if not path.startswith(mounts)] == []
    # The list that the one writes and the other reads.
    assert f'LIST = Path("{nginx_value("include", name="nginx-balancer/nginx.conf")}")' in follow
    (moving,) = re.findall(r"if \(-f (\S+)\)", text_of("nginx-balancer/nginx.conf"))
    assert moving.startswith(mounts)
    assert f'MOVING = LIST.with_name("{moving.rpartition("/")[2]}")' in follow
    assert nginx_value("client_max_body_size", name="nginx-balancer/nginx.conf") == nginx_value(
        "client_max_body_size"
    )


def test_the_status_page_watches_haproxy_s_servers() -> None:
    """By the names that the servers call themselves."""
    addresses = backend_servers()["backend dynamic_backend"]
    # `${SERVER3:+,and more}` is what follows `:+` where it is set.
    switched_on = re.sub(r"\$\{\w+:\+([^}]*)\}", r"\1", compose()["x-environment"]["SERVERS"])

    assert switched_on.split(",") == [
        f"{compose()['services'][name]['environment']['PROFILE']}={addresses[name]}"
        for name in compose_servers()
    ]


def test_haproxy_listens_where_compose_publishes() -> None:
    sections = haproxy_sections()
    plain, tls = [line.split()[1] for line in sections["frontend site"] if line.startswith("bind ")]
    layers = compose("docker-compose.layers.yaml")["services"]

    for layer in LAYERS:
        targets = [port.rpartition(":")[2] for port in layers[f"haproxy-{layer}"]["ports"]]
        assert [f":{target}" for target in targets] == [
            plain,
            haproxy_value("listen stats", "bind"),
        ]
        more = [port.rpartition(":")[2] for port in layers[f"haproxy-{layer}-tls"]["ports"]]
        assert [f":{target}" for target in more] == [tls]
    assert (plain, tls) == (f":{stackctl_compose.HTTP}", f":{stackctl_compose.HTTPS}")
    of_others = {8090, int(health_port()), int(httpd_value("Listen"))}
    assert set(preflight.PORT_NAMES) - of_others == {
        int(address.removeprefix(":"))
        for address in (plain, tls, haproxy_value("listen stats", "bind"))
    }


def test_haproxy_finds_the_certificate_where_it_is_copied_to() -> None:
    script = text_of("haproxy/certificates")
    target = re.search(r"^target=(\S+)$", script, re.MULTILINE)
    tmpfs = compose()["services"]["haproxy"]["tmpfs"][0]
    volume = compose("docker-compose.layers.yaml")["x-tls"]["volumes"][0].split(":")[1]
    (bind,) = [line for line in haproxy_sections()["frontend site"] if " ssl " in line]

    assert target
    assert f"ssl crt {target[1]} " in bind
    assert target[1].startswith(f"{volume}/")
    uid, gid = re.findall(r"[ug]id=(\d+)", tmpfs)
    assert f"owner={uid}:{gid}\n" in script


def test_without_a_certificate_nothing_of_tls_counts() -> None:
    """What speaks of it in the site's frontend stands between .if and .endif."""
    inside = 0
    for line in haproxy_sections()["frontend site"]:
        inside += line.startswith(".if ")
        if " ssl " in line or "status 308" in line:
            assert inside
        inside -= line == ".endif"
    assert inside == 0


def test_probes_and_challenges_are_not_sent_to_https() -> None:
    lines = haproxy_sections()["frontend site"]
    plain = {word for line in lines if line.startswith("acl plain ") for word in line.split()[5:]}
    challenges = "/.well-known/acme-challenge/"

    assert plain == {"/livez", "/readyz", "/healthz", challenges}
    (files,) = [line for line in lines if line.startswith("acl files ")]
    assert challenges in files.split()
    assert "use_backend static_backend if files" in lines
    (location,) = [item for item in nginx_directives() if "/srv/acme" in item.arguments]
    assert location.blocks[-1] == f"location ^~ {challenges}"
    for name in compose_servers():
        assert "acme:/srv/acme:ro" in compose()["services"][name]["volumes"]
    assert "acme:/srv/acme" in compose()["services"]["certbot"]["volumes"]


def test_haproxy_nginx_and_apache_refuse_the_same_paths() -> None:
    """Dot segments in any spelling, and NUL."""
    for name in ("haproxy/haproxy.cfg", "nginx/nginx.conf", "apache/httpd.conf"):
        (line,) = [text for text in text_of(name).splitlines() if "(/|%2f)" in text]
        assert r"((/|%2f)(\.|%2e){1,2}(/|%2f|" in line or r"'(/|%2f)(\.|%2e){1,2}(/|%2f|" in line
        assert "|%00" in line


def test_haproxy_can_be_reloaded() -> None:
    """It starts with a master's socket; all that stackctl speaks to and writes is on its tmpfs."""
    service = compose()["services"]["haproxy"]
    folder = service["tmpfs"][0].partition(":")[0]
    mounted = [mount.split(":")[1] for mount in service["volumes"]]

    assert service["command"][:2] == ["haproxy", "-S"]
    assert service["command"][2] == f"{haproxy.MASTER_SOCKET},mode,600"
    assert service["command"][3:] == ["-f", haproxy.CONFIG]
    assert haproxy.CONFIG.rpartition("/")[0] in mounted
    assert f"server-state-file {haproxy.STATE_FILE}" in haproxy_sections()["global"]
    assert "load-server-state-from-file global" in haproxy_sections()["defaults"]
    for path in (haproxy.SOCKET, haproxy.MASTER_SOCKET, haproxy.STATE_FILE):
        assert path.startswith(f"{folder}/")


def test_haproxy_s_health_check_asks_its_own_frontend() -> None:
    script = text_of("haproxy/healthcheck")
    address, _, port = haproxy_value("frontend health", "bind").partition(":")

    assert f"/dev/tcp/{address}/{port}" in script
    assert f"GET {haproxy_value('frontend health', 'monitor-uri')} HTTP" in script
