"""Ports, paths, names and limits that several servers' files have to agree on."""

import json
import re

import pytest

from api.views.uploads import FORM_BYTES
from mysite import wsgi_http
from mysite.environment.contract import VARIABLES
from stackctl_cli import compose as stackctl_compose
from stackctl_cli import haproxy, preflight
from tests.tree import ROOT
from tests.unit.config_files import (
    compose,
    dockerfile,
    dockerfile_environment,
    haproxy_sections,
    haproxy_value,
    httpd_members,
    httpd_value,
    httpd_values,
    ini,
    nginx_directives,
    nginx_value,
    supervisor_programs,
    supervisor_sections,
    text_of,
    uwsgi_option,
)

LAYERS = ("local", "dev", "production")
PROJECT = "/srv/project/"
APACHE = "apache"
# What nginx keeps in files of its own.
TEMPORARY = ("client_body", "proxy", "uwsgi", "fastcgi", "scgi")


def exposed(name: str) -> list[str]:
    """Return what a Dockerfile's EXPOSE lines say."""
    return [text for instruction, text in dockerfile(name) if instruction == "EXPOSE"]


def health_port() -> str:
    """Return the port that a server container's health check asks."""
    found = re.search(r"^PORT = (\d+)$", text_of("supervisor/healthcheck"), re.MULTILINE)
    assert found
    return found[1]


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
        if section.startswith("backend ")
    }


def compose_servers() -> list[str]:
    """Return the services that are servers of the site: those with a name for /profile/."""
    services = compose()["services"]
    return [
        name for name, service in services.items() if "PROFILE" in service.get("environment", {})
    ]


def test_nginx_listens_on_one_port_and_by_no_protocol_that_a_kernel_may_lack() -> None:
    listens = [
        item.arguments[0]
        for item in nginx_directives()
        if item.name == "listen" and "default_server" in item.arguments
    ]

    assert listens == [health_port()]
    for name in ("nginx/nginx.conf", "nginx-balancer/nginx.conf"):
        assert "[" not in "".join(
            item.arguments[0] for item in nginx_directives(name) if item.name == "listen"
        )


@pytest.mark.parametrize("layer", LAYERS)
def test_each_image_exposes_that_port_literally(layer: str) -> None:
    """Elastic Beanstalk reads the line and no other form of it."""
    assert exposed(f"Dockerfile.{layer}") == [health_port()]
    assert text_of(f"Dockerfile.{layer}").splitlines().count(f"EXPOSE {health_port()}") == 1


def test_the_joined_dockerfile_exposes_it_once() -> None:
    assert exposed("Dockerfile.base") == []
    assert exposed("Dockerfile") == [health_port()]


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


@pytest.mark.parametrize("name", ["static_backend", "upload_backend"])
def test_the_other_backends_follow_the_checks_of_the_dynamic_one(name: str) -> None:
    """Also in what a 404 means, or HAProxy would not start."""
    sections = haproxy_sections()
    other, dynamic = sections[f"backend {name}"], sections["backend dynamic_backend"]

    for line in other:
        if line.startswith("server "):
            assert line.endswith(f"track dynamic_backend/{line.split()[1]}")
    for option in ("option httpchk", "http-check disable-on-404"):
        assert option in other and option in dynamic


def test_the_bodies_that_nginx_keeps_fit_where_it_keeps_them() -> None:
    """Each of HAProxy's places for uploads may hold the largest body, and Django a copy of it."""
    limits = [
        line for line in haproxy_sections()["backend upload_backend"] if "maxconn" in line.split()
    ]
    places = int(limits[0].split()[-1])
    largest = int(nginx_value("client_max_body_size").removesuffix("m"))
    folder = nginx_value("client_body_temp_path")

    for server in compose_servers():
        mounts = [mount for mount in compose()["services"][server]["tmpfs"] if "/tmp:" in mount]
        size = re.search(r"size=(\d+)m", mounts[0])
        assert folder.startswith("/tmp/") and size
        assert 2 * places * largest <= int(size[1])


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


def test_every_server_has_a_profile_of_its_own() -> None:
    profiles = [compose()["services"][name]["environment"]["PROFILE"] for name in compose_servers()]

    assert len(set(profiles)) == len(profiles)


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


def test_the_databases_take_a_connection_of_every_process() -> None:
    """The most that the contract allows; requests and jobs leave theirs open for the next ones."""
    servers = len(compose_servers()) * (VARIABLES["WEB_CONCURRENCY"].maximum or 0)
    # The worker's own processes look after the table and the metrics.
    jobs = (VARIABLES["WORKER_CONCURRENCY"].maximum or 0) + 4
    # Migrations with their lock, a few commands, and what a server keeps for its administrator.
    others = 20

    for name in ("mysql/conf.d/mysite.cnf", "postgres/postgresql.conf"):
        (limit,) = re.findall(r"^max_connections = (\d+)$", text_of(name), re.MULTILINE)
        assert int(limit) >= servers + jobs + others, name


def test_probes_and_challenges_are_not_sent_to_https() -> None:
    lines = haproxy_sections()["frontend site"]
    plain = {word for line in lines if line.startswith("acl plain ") for word in line.split()[3:]}
    challenges = "/.well-known/acme-challenge/"

    assert plain == {"/livez", "/readyz", "/healthz", challenges}
    (static,) = [line for line in lines if line.startswith("use_backend static_backend")]
    assert challenges in static.split()
    (location,) = [item for item in nginx_directives() if "/srv/acme" in item.arguments]
    assert location.blocks[-1] == f"location ^~ {challenges}"
    for name in compose_servers():
        assert "acme:/srv/acme:ro" in compose()["services"][name]["volumes"]
    assert "acme:/srv/acme" in compose()["services"]["certbot"]["volumes"]


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


def test_the_largest_body_has_room_for_the_largest_picture_and_its_form() -> None:
    limit = nginx_value("client_max_body_size")
    largest = VARIABLES["UPLOAD_MAX_MB"].maximum
    told = json.loads(text_of("nginx/errors/413.json"))["detail"]

    assert largest
    assert limit == f"{largest + 1}m"
    assert re.findall(r"\d+ MB", told) == [f"{largest} MB"]
    assert FORM_BYTES <= 1_000_000


def test_every_error_page_exists_and_is_json() -> None:
    pages = {
        item.arguments[-1]: item.arguments[:-1]
        for item in nginx_directives()
        if item.name == "error_page"
    }
    aliased = nginx_value("alias", "location /errors/")

    assert {f"/errors/{path.name}" for path in (ROOT / "nginx/errors").iterdir()} == set(pages)
    for page, codes in pages.items():
        assert codes == (page.removeprefix("/errors/").removesuffix(".json"),)
        path = page.replace("/errors/", aliased, 1).removeprefix(PROJECT)
        assert json.loads(text_of(path)).keys() == {"detail"}


def test_nginx_and_uwsgi_meet_at_one_socket() -> None:
    upstream = [item for item in nginx_directives() if item.blocks[-1:] == ("upstream django",)]
    sockets = {item.arguments[0] for item in upstream if item.name == "server"}

    assert sockets == {nginx_form(supervisor_programs()["uwsgi"]["socket"])}
    # uWSGI takes the socket that supervisor hands over only where it has none of its own.
    assert "socket" not in ini("uwsgi/uwsgi.ini")["uwsgi"]
    assert nginx_value("uwsgi_pass") == "django"
    assert supervisor_programs()["gunicorn"]["socket"] == supervisor_programs()["uwsgi"]["socket"]
    assert nginx_value("proxy_pass", app_server="gunicorn") == "http://django/"


def test_each_application_server_has_its_files() -> None:
    """One variable names supervisor's program and how nginx speaks to it."""
    (include,) = re.findall(r"^files = (.+)$", text_of("supervisor/supervisord.conf"), re.MULTILINE)
    names = VARIABLES["APP_SERVER"].choices

    assert dockerfile_environment("Dockerfile.base")["APP_SERVER"] == names[0]
    assert f"${{APP_SERVER:-{names[0]}}}" in text_of("supervisor/entrypoint")
    for name in names:
        assert (ROOT / f"nginx/forward-{name}.conf").is_file()
        assert f"programs/{name}.conf" in include.replace("%(ENV_APP_SERVER)s", name).split()
    # Every other program is always there.
    fixed = {path for path in include.split() if "%" not in path}
    assert fixed == {f"programs/{name}.conf" for name in set(supervisor_sections()) - set(names)}
    (included,) = {item.arguments[0] for item in nginx_directives() if item.name == "include"} - {
        item.arguments[0]
        for item in nginx_directives()
        if item.name == "include" and item.arguments[0].startswith("/etc/nginx/")
    }
    assert f"{included}\n" in text_of("nginx/start")


def test_nginx_tells_both_application_servers_the_same() -> None:
    """What uWSGI gets as a variable gunicorn gets as a header; the rest is HTTP itself."""
    variables = {
        item.arguments[0]: item.arguments[1]
        for item in nginx_directives()
        if item.name == "uwsgi_param"
    }
    headers = {
        "HTTP_" + item.arguments[0].upper().replace("-", "_"): item.arguments[1]
        for item in nginx_directives(app_server="gunicorn")
        if item.name == "proxy_set_header"
    }

    told = {wsgi_http.VARIABLES.get(name, name): value for name, value in headers.items()}
    assert told == {name: variables[name] for name in told}
    assert {name for name in variables if name.startswith("HTTP_")} <= set(told)
    assert set(wsgi_http.VARIABLES.values()) <= set(told)


def nginx_form(socket: str) -> str:
    """Return a socket of supervisor's, `unix:///path`, as nginx writes it."""
    return socket.replace("unix://", "unix:")


def test_nginx_serves_the_folders_that_django_writes() -> None:
    image = dockerfile_environment("Dockerfile.base")

    # `root` and the location make the folder's path.
    assert f"{nginx_value('root', 'location /static/')}/static" == image["STATIC_ROOT"]
    kept = f"{nginx_value('root', 'location @kept')}/static"
    shares = text_of("nginx/keep_static.py")
    assert f'SHARED = Path("{kept}")' in shares
    assert f'SOURCE = Path("{image["STATIC_ROOT"]}")' in shares
    assert nginx_value("alias", "location /media/") == f"{image['MEDIA_ROOT']}/"
    for layer in ("dev", "production"):
        copied = [text for _, text in dockerfile(f"Dockerfile.{layer}") if "mysite-static" in text]
        assert f"--from=mysite-static {image['STATIC_ROOT']} {image['STATIC_ROOT']}" in copied
    for server in compose_servers():
        volumes = compose()["services"][server]["volumes"]
        assert {f"media:{image['MEDIA_ROOT']}", f"static:{kept}"} <= set(volumes)


def test_what_a_server_writes_while_it_runs_is_on_its_tmpfs() -> None:
    """Its root is read-only."""
    paths = [
        dockerfile_environment("Dockerfile.base")["DRAIN_FILE"],
        supervisor_programs()["uwsgi"]["socket"].removeprefix("unix://"),
        *(uwsgi_option(name) for name in ("master-fifo", "stats")),
        nginx_value("pid"),
        ini("supervisor/supervisord.conf")["supervisord"]["pidfile"],
        ini("supervisor/supervisord.conf")["unix_http_server"]["file"],
        *(item.arguments[0] for item in nginx_directives() if item.name.endswith("_temp_path")),
    ]
    for server in compose_servers():
        service = compose()["services"][server]
        assert service["read_only"] is True
        mounts = tuple(f"{mount.partition(':')[0]}/" for mount in service["tmpfs"])
        assert [path for path in paths if not path.startswith(mounts)] == []


def test_supervisorctl_finds_supervisor() -> None:
    sections = ini("supervisor/supervisord.conf")

    file = sections["unix_http_server"]["file"]
    assert sections["supervisorctl"]["serverurl"] == f"unix://{file}"


def test_every_program_that_is_started_exists() -> None:
    workdir = [
        text for instruction, text in dockerfile("Dockerfile.base") if instruction == "WORKDIR"
    ]
    commands = [options["command"] for _, options in supervisor_sections().values()]
    commands += [text.split('"')[1] for text in _exec_forms("Dockerfile.base")]
    paths = [path for command in commands for path in command.split() if path.startswith(PROJECT)]

    assert [f"{path}/" for path in workdir] == [PROJECT]
    assert len(paths) == len(supervisor_programs()) + 3
    for path in paths:
        assert (ROOT / path.removeprefix(PROJECT)).is_file(), path


def _exec_forms(name: str) -> list[str]:
    """Return the JSON lists of a Dockerfile that start with a path of the project."""
    return [text[text.index("[") :] for _, text in dockerfile(name) if f'["{PROJECT}' in text]


def test_one_user_runs_everything() -> None:
    made = dict(re.findall(r"--(uid|gid) (\d+)", text_of("Dockerfile.base")))
    uid, gid = made["uid"], made["gid"]

    for layer in LAYERS:
        users = [
            text for instruction, text in dockerfile(f"Dockerfile.{layer}") if instruction == "USER"
        ]
        assert users == [f"{uid}:{gid}"]
    for server in compose_servers():
        run = [mount for mount in compose()["services"][server]["tmpfs"] if "uid=" in mount]
        assert run
        for mount in run:
            assert f"uid={uid},gid={gid}" in mount


def test_a_killed_nginx_is_succeeded_on_every_port() -> None:
    """One port without it keeps the next nginx from starting while the last workers end."""
    listens = [one.arguments for one in nginx_directives() if one.name == "listen"]

    assert len(listens) == 2
    assert all("reuseport" in arguments for arguments in listens), listens
