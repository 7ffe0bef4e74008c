"""A fake instance: the nginx of the platform on port 80 in front of the project's container.

Its nginx.conf follows public copies of the platform's: includes, headers and timeouts are alike.
https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/platforms-linux-extend.proxy.html
"""

import http.client
import shutil
from pathlib import Path

from tests.eb.docker import Container, remove
from tests.stack.compose import docker
from tests.waiting import eventually

# Twice the default of `docker stop`, for a busy machine.
STOP_SECONDS = 20
# Exit code after SIGKILL.
KILLED = 137
NGINX = """\
daemon off;
pid /run/nginx.pid;
error_log /dev/stderr warn;
events {{
    worker_connections 1024;
}}
http {{
    default_type application/octet-stream;
    log_format main '$remote_addr $request $status "$http_x_forwarded_for"';
    include conf.d/*.conf;
    map $http_upgrade $connection_upgrade {{
        default "upgrade";
    }}
    upstream docker {{
        server {address}:{port};
        keepalive 256;
    }}
    server {{
        listen 80 default_server;
        access_log /dev/stdout main;
        client_header_timeout 60;
        client_body_timeout 60;
        keepalive_timeout 60;
        gzip off;
        include conf.d/elasticbeanstalk/*.conf;
        location / {{
            proxy_pass http://docker;
            proxy_http_version 1.1;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""


# Programs that hooks call; they run in the container of nginx, since there is no other host.
PROGRAMS = {
    "get-config": 'grep -q "^$3=" /etc/nginx/env.list && sed -n "s/^$3=//p" /etc/nginx/env.list',
    "systemctl": 'exec nginx -s "$1"',
}
PATH = "/etc/nginx/programs:/usr/local/bin:/usr/bin:/usr/sbin:/bin"


class Instance:
    """An instance: the containers of nginx and the application, and the files of nginx."""

    def __init__(self, name: str, network: str, folder: Path) -> None:
        """Prepare it; `deploy` starts the containers."""
        self.name = name
        self.network = network
        self.folder = folder
        self.application = Container(f"{name}-app")
        self.nginx = Container(f"{name}-nginx")
        self.release = ""
        # Whether a container of this instance had to be killed.
        self.killed = False

    def deploy(
        self, image: str, port: int, variables: Path, source: Path, release: str, hooks: str
    ) -> None:
        """Replace the container of the application, reload nginx, and run the hooks.

        Args:
            image: the built image.
            port: the port of EXPOSE.
            variables: the file for `--env-file`.
            source: the unpacked bundle, for .platform/nginx.
            release: the label of the version.
            hooks: `hooks` after a deploy, `confighooks` after a change of properties.
        """
        self.stop()
        self.application.run("--network", self.network, "--env-file", str(variables), image)
        self.configure(port, source)
        if self.release:
            self.nginx.execute("nginx", "-s", "reload")
        else:
            self.start_nginx(image)
        self.run_hooks(source, variables, hooks)
        self.release = release

    def run_hooks(self, source: Path, variables: Path, hooks: str) -> None:
        """Run the hooks of one event, as the platform does once nginx and the container run."""
        shutil.rmtree(self.folder / "current", ignore_errors=True)
        shutil.copytree(source, self.folder / "current")
        shutil.copy(variables, self.folder / "env.list")
        for hook in sorted((source / ".platform" / hooks / "postdeploy").iterdir()):
            path = f"/etc/nginx/current/.platform/{hooks}/postdeploy/{hook.name}"
            self.nginx.execute("env", f"PATH={PATH}", path)

    def stop(self) -> None:
        """Stop the container if it runs, and record whether it had to be killed."""
        if self.release:
            docker("stop", "-t", str(STOP_SECONDS), self.application.name)
            self.killed |= self.application.exit_code() == KILLED

    def configure(self, port: int, source: Path) -> None:
        """Write the files of nginx: those of the platform, and those of the bundle."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / "conf.d", ignore_errors=True)
        own = source / ".platform" / "nginx" / "conf.d"
        shutil.copytree(own, self.folder / "conf.d")
        text = NGINX.format(address=self.application.address(), port=port)
        (self.folder / "nginx.conf").write_text(text)
        for name, script in PROGRAMS.items():
            program = self.folder / "programs" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)

    def start_nginx(self, image: str) -> None:
        """Start nginx from the project's image."""
        self.nginx.run(
            *("--network", self.network),
            *("--publish", "127.0.0.1::80", "--user", "0:0", "--no-healthcheck"),
            *("--volume", f"{self.folder}:/etc/nginx"),
            *("--volume", f"{self.folder}/programs:/opt/elasticbeanstalk/bin:ro"),
            *("--entrypoint", "nginx", image),
        )

    def status(self, path: str) -> int:
        """Request a path from nginx; return the status, or 0 without a response."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.nginx.published_port(80), timeout=5
        )
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def is_healthy_in_time(self, path: str, status: int, times: int, seconds: float) -> bool:
        """Return whether this many health checks in a row succeed in time."""
        good = 0

        def check() -> bool:
            nonlocal good
            if not self.application.is_running():
                return True
            good = good + 1 if self.status(path) == status else 0
            return good >= times

        try:
            eventually(check, seconds=seconds, what=f"{self.name} is healthy")
        except AssertionError:
            return False
        return good >= times

    def remove(self) -> None:
        """Stop the container gracefully, then remove the instance."""
        self.stop()
        self.discard()

    def discard(self) -> None:
        """Remove the containers without a graceful stop."""
        for container in (self.application, self.nginx):
            remove(container.name)
