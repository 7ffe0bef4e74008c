"""What docker compose and HAProxy read."""

from __future__ import annotations

from typing import Final

from ops.environment import validators
from ops.environment.variable import SHARED, Kind, Scope, Section, Variable

from .samples import SAMPLE_PASSWORD

STACK: Final = Section(
    "Stack",
    "Variables of docker compose and HAProxy. The application never receives them.",
    (
        Variable(
            name="HTTP_PORT",
            kind=Kind.PORT,
            help="The host's port for the site through HAProxy.",
            default="8080",
            scope=Scope.STACK,
        ),
        Variable(
            name="LOG_DRIVER",
            kind=Kind.CHOICE,
            help="Where the containers' logs are kept: json-file (Docker, until the container is "
            "removed) or journald (the machine's journal; docs/monitoring.md).",
            choices=("json-file", "journald"),
            default="json-file",
            scope=Scope.STACK,
        ),
        Variable(
            name="HAPROXY_BALANCE",
            kind=Kind.CHOICE,
            help="How HAProxy chooses a server: roundrobin, leastconn (the fewest "
            "running requests) or source (by the client's address).",
            choices=("roundrobin", "leastconn", "source"),
            default="roundrobin",
            scope=Scope.STACK,
        ),
        Variable(
            name="TRUSTED_PROXIES",
            kind=Kind.LIST,
            help="Networks of the proxies in front, whose X-Forwarded-For and X-Forwarded-Proto "
            "are believed: 192.0.2.10,2001:db8::/32 (docs/behind-a-proxy.md).",
            scope=Scope.STACK,
            validate=validators.proxy_network,
        ),
        Variable(
            name="PROXY_PROTOCOL",
            kind=Kind.CHOICE,
            help="1: TRUSTED_PROXIES connect with the PROXY protocol, version 1 or 2.",
            choices=("0", "1"),
            default="0",
            scope=Scope.STACK,
        ),
        # remove_apache: begin
        Variable(
            name="APACHE",
            kind=Kind.CHOICE,
            help="1 adds Apache httpd next to nginx.",
            choices=("0", "1"),
            default="0",
            scope=Scope.STACK,
        ),
        # remove_apache: end
        # remove_nginx-balancer: begin
        Variable(
            name="NGINX_BALANCER",
            kind=Kind.CHOICE,
            help="1 adds nginx as a load balancer.",
            choices=("0", "1"),
            default="0",
            scope=Scope.STACK,
        ),
        # remove_nginx-balancer: end
        Variable(
            name="MONITORING",
            kind=Kind.CHOICE,
            help="prometheus adds Prometheus with the stack's alerts, grafana both it and Grafana "
            "with a dashboard (docs/monitoring.md).",
            choices=("0", "prometheus", "grafana"),
            default="0",
            scope=Scope.STACK,
        ),
        Variable(
            name="ALERTMANAGER_CONFIG",
            help="With MONITORING, Alertmanager's configuration, which says who receives alerts. "
            "Only as a file (docs/monitoring.md): "
            "ALERTMANAGER_CONFIG_FILE=/etc/mysite/alertmanager.yml.",
            secret=True,
            scope=Scope.STACK,
        ),
        Variable(
            name="PROMETHEUS_PORT",
            kind=Kind.PORT,
            help="With MONITORING, this machine's own port for Prometheus.",
            default="9090",
            scope=Scope.STACK,
        ),
        Variable(
            name="GRAFANA_PORT",
            kind=Kind.PORT,
            help="With MONITORING=grafana, this machine's own port for Grafana.",
            default="3000",
            scope=Scope.STACK,
        ),
        # remove_apache: begin
        Variable(
            name="NGINX_PORT",
            kind=Kind.PORT,
            help="With APACHE=1, the host's port for server1's nginx.",
            default="8001",
            scope=Scope.STACK,
        ),
        Variable(
            name="APACHE_PORT",
            kind=Kind.PORT,
            help="The host's port for Apache.",
            default="8002",
            scope=Scope.STACK,
        ),
        Variable(
            name="DIRECT_ADDRESS",
            help="The host's address for both ports. Loopback only: they trust X-Forwarded-For.",
            default="127.0.0.1",
            scope=Scope.STACK,
            validate=validators.loopback_address,
        ),
        # remove_apache: end
        # remove_nginx-balancer: begin
        Variable(
            name="NGINX_BALANCE",
            kind=Kind.CHOICE,
            help="As HAPROXY_BALANCE, for nginx as the load balancer; ip_hash goes by an IPv4 "
            "address's first three numbers.",
            choices=("round_robin", "least_conn", "ip_hash"),
            default="round_robin",
            scope=Scope.STACK,
        ),
        Variable(
            name="NGINX_BALANCER_PORT",
            kind=Kind.PORT,
            help="The host's port for the site through nginx as the load balancer.",
            default="8090",
            scope=Scope.STACK,
        ),
        Variable(
            name="NGINX_BALANCER_ADDRESS",
            help="The host's address for it: 127.0.0.1 for this machine only, 0.0.0.0 for all "
            "networks.",
            default="127.0.0.1",
            scope=Scope.STACK,
            validate=validators.bind_address,
        ),
        # remove_nginx-balancer: end
        Variable(
            name="TLS_CERTIFICATE",
            help="A folder in certs/ with fullchain.pem and privkey.pem. Enables https.",
            scope=Scope.STACK,
            validate=validators.certificate_folder,
        ),
        Variable(
            name="HTTPS_PORT",
            kind=Kind.PORT,
            help="The host's port for https, with TLS_CERTIFICATE.",
            default="8443",
            scope=Scope.STACK,
        ),
        Variable(
            name="APP_MEMORY",
            help="The memory limit of each server and of the worker: 1500m, 2g.",
            default="2g",
            scope=Scope.STACK,
            validate=validators.memory,
        ),
        Variable(
            name="DB_SLOW_QUERY_SECONDS",
            kind=Kind.INT,
            help="The database logs each statement that takes longer, with its values; 0: none. "
            "docker compose logs db shows them.",
            default="0",
            minimum=0,
            maximum=3600,
            scope=Scope.STACK,
        ),
        Variable(
            name="DB_MEMORY",
            help="The memory limit of the database server.",
            default="2g",
            scope=Scope.STACK,
            validate=validators.memory,
        ),
        Variable(
            name="STATS_PORT",
            kind=Kind.PORT,
            help="The host's port for HAProxy's stats page.",
            default="8888",
            scope=Scope.STACK,
        ),
        Variable(
            name="HTTP_ADDRESS",
            help="The host's address of the site: 127.0.0.1 for this machine only, 0.0.0.0 for "
            "all networks.",
            default="0.0.0.0",  # noqa: S104 (what a server is for; the sample layer is not one)
            layer_defaults={"local": "127.0.0.1", "test": "127.0.0.1"},
            scope=Scope.STACK,
            validate=validators.bind_address,
        ),
        Variable(
            name="HTTP_IPV6_ADDRESS",
            help="The host's IPv6 address of the site: [::] for all networks, [::1] for this "
            "machine only. Empty: IPv4 alone. Needs Docker Engine 27 or newer "
            "(docs/load-balancing.md#ipv6).",
            scope=Scope.STACK,
            validate=validators.ipv6_address,
        ),
        Variable(
            name="STATS_USER",
            help="The stats page's user.",
            default="admin",
            scope=Scope.STACK,
            validate=validators.basic_auth_user,
        ),
        Variable(
            name="STATS_PASSWORD",
            help="The stats page's password.",
            layer_defaults={"local": SAMPLE_PASSWORD, "test": SAMPLE_PASSWORD},
            sample=SAMPLE_PASSWORD,
            required_in=SHARED,
            secret=True,
            generated=True,
            scope=Scope.STACK,
        ),
    ),
)
