"""Ports, paths, names and limits that several servers' files have to agree on."""

import json
import re

import pytest

from demo.views.uploads import FORM_BYTES
from ops import wsgi_http
from ops.environment.contract import VARIABLES
from tests.tree import ROOT
from tests.unit.config_files import (
    compose,
    compose_servers,
    dockerfile,
    dockerfile_environment,
    haproxy_sections,
    health_port,
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
BALANCER = "nginx-balancer/nginx.conf"


def exposed(name: str) -> list[str]:
    """Return what a Dockerfile's EXPOSE lines say."""
    return [text for instruction, text in dockerfile(name) if instruction == "EXPOSE"]


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


def test_the_bodies_that_are_kept_at_once_fit_where_they_are_kept() -> None:
    """The longest ones, in nginx alone, of each balancer's places for them."""
    limits = [
        line for line in haproxy_sections()["backend upload_backend"] if "maxconn" in line.split()
    ]
    haproxy = int(limits[0].split()[-1])
    other = int(nginx_value("limit_conn", name=BALANCER).split()[-1])
    folder = nginx_value("client_body_temp_path")

    assert folder.startswith("/tmp/")
    for server in compose_servers():
        assert (haproxy + other) * longest_body() <= tmp_bytes(server)


def test_the_bodies_that_the_other_balancer_keeps_fit_where_it_keeps_them() -> None:
    """The long ones, and with every other connection a body that just is none."""
    places = int(nginx_value("limit_conn", name=BALANCER).split()[-1])
    (digits,) = re.findall(r"\\d\{(\d+),\} \|chunked", text_of(BALANCER))
    small = int(nginx_value("worker_connections", name=BALANCER)) // 2

    assert nginx_value("client_body_temp_path", name=BALANCER).startswith("/tmp/")
    room = tmp_bytes("nginx-balancer")
    assert places * longest_body() + small * 10 ** (int(digits) - 1) <= room


def longest_body() -> int:
    """Return the longest body that is taken, in bytes."""
    return int(nginx_value("client_max_body_size").removesuffix("m")) * 2**20


def tmp_bytes(service: str) -> int:
    """Return how many bytes a service's /tmp holds."""
    mounts = [mount for mount in compose()["services"][service]["tmpfs"] if "/tmp:" in mount]
    size = re.search(r"size=(\d+)([mg])", mounts[0])
    assert size
    return int(size[1]) * {"m": 2**20, "g": 2**30}[size[2]]


def test_every_server_has_a_profile_of_its_own() -> None:
    profiles = [compose()["services"][name]["environment"]["PROFILE"] for name in compose_servers()]

    assert len(set(profiles)) == len(profiles)


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


def test_the_largest_body_has_room_for_the_largest_picture_and_its_form() -> None:
    limit = nginx_value("client_max_body_size")
    largest = VARIABLES["UPLOAD_MAX_MB"].maximum
    told = json.loads(text_of("nginx/errors/413.json"))["detail"]

    assert largest
    assert limit == f"{largest + 1}m"
    assert re.findall(r"\d+ MB", told) == [f"{largest} MB"]
    assert FORM_BYTES <= 1_000_000


def test_apache_has_nginx_s_words_for_the_errors_of_both() -> None:
    details = {
        item.name: item.arguments[0]
        for item in nginx_directives()
        if item.blocks[-1:] == ("map $status $error_detail",)
    }
    default = VARIABLES["UPLOAD_MAX_MB"].default

    for path in (ROOT / "nginx/errors").iterdir():
        words = details[path.stem].replace("$upload_max_mb", default)
        assert json.loads(path.read_text()) == {"detail": words}
    for script in ("nginx/start", "apache/start"):
        assert f"${{UPLOAD_MAX_MB:-{default}}}" in text_of(script)


def test_nginx_and_uwsgi_meet_at_one_socket() -> None:
    upstream = [item for item in nginx_directives() if item.blocks[-1:] == ("upstream django",)]
    sockets = {item.arguments[0] for item in upstream if item.name == "server"}

    assert sockets == {nginx_form(supervisor_programs()["uwsgi"]["socket"])}
    # uWSGI takes the socket that supervisor hands over only where it has none of its own.
    assert "socket" not in ini("uwsgi/uwsgi.ini")["uwsgi"]
    assert uwsgi_option("socket-protocol") == "http"
    assert supervisor_programs()["gunicorn"]["socket"] == supervisor_programs()["uwsgi"]["socket"]
    assert nginx_value("proxy_pass") == "http://django/"


def test_each_application_server_has_its_files() -> None:
    """One variable names supervisor's program."""
    (include,) = re.findall(r"^files = (.+)$", text_of("supervisor/supervisord.conf"), re.MULTILINE)
    names = VARIABLES["APP_SERVER"].choices

    assert dockerfile_environment("Dockerfile.base")["APP_SERVER"] == names[0]
    assert f"${{APP_SERVER:-{names[0]}}}" in text_of("supervisor/entrypoint")
    for name in names:
        assert f"programs/{name}.conf" in include.replace("%(ENV_APP_SERVER)s", name).split()
    # Every other program is always there.
    fixed = {path for path in include.split() if "%" not in path}
    assert fixed == {f"programs/{name}.conf" for name in set(supervisor_sections()) - set(names)}


def test_nginx_sets_every_header_that_django_believes() -> None:
    headers = {
        "HTTP_" + item.arguments[0].upper().replace("-", "_"): item.arguments[1]
        for item in nginx_directives()
        if item.name == "proxy_set_header"
    }

    assert headers == {
        "HTTP_HOST": "$asked_host",
        "HTTP_X_REQUEST_ID": "$trace_id",
        "HTTP_COOKIE": "$http_cookie",
        "HTTP_X_FORWARDED_FOR": "$remote_addr",
        "HTTP_NGINX_REMOTE_ADDR": "$remote_addr",
        "HTTP_NGINX_SERVER_PORT": "$server_port",
    }
    assert wsgi_http.VARIABLES.keys() <= headers.keys()
    assert uwsgi_option("module") == "ops.wsgi_http:application"


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
        assert {f"media:{image['MEDIA_ROOT']}", f"static:{kept}:ro"} <= set(volumes)


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
