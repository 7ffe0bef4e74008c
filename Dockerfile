# What every layer shares: Python, the locked packages, nginx, supervisor. No code, no settings.
# Dockerfile.local, .dev and .production build on `mysite-base`; the root `Dockerfile` is this file and
# Dockerfile.production joined, so every stage has a name of its own.

# Compilers stay in this stage.
FROM debian:trixie-slim AS mysite-builder
COPY requirements/apt-build.txt /tmp/apt.txt
RUN sed -i 's/[#\r].*//' /tmp/apt.txt && apt-get update \
    && xargs -a /tmp/apt.txt apt-get install -y --no-install-recommends \
        gcc libc6-dev libmariadb-dev libpq-dev pkg-config python3-dev python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/production.txt /tmp/requirements.txt
# No pip in the environment that is shipped: the builder's own installs into it.
# -g0: what only a debugger reads would be half of what is compiled here. The builder's cache keeps
# the compiled wheels for the next change of the requirements.
RUN --mount=type=cache,target=/root/.cache/pip,id=pip-debian-trixie \
    python3 -m venv --without-pip /opt/venv \
    && CFLAGS=-g0 pip --python /opt/venv/bin/python install --require-hashes --requirement /tmp/requirements.txt \
    # Compiled: its sources have done their work.
    && find /opt/venv/lib -path '*/psycopg_c/*.[ch]' -delete \
    # Sources of Django's translations: only the compiled ones are read.
    && find /opt/venv/lib -path '*/site-packages/django/*.po' -delete \
    # Source maps, larger than the scripts that they explain: empty, since collectstatic asks for them.
    && find /opt/venv/lib -path '*/static/*.map' -exec truncate --size 0 {} + \
    # What only a debugger or a linker reads, in wheels too.
    && find /opt/venv -type f \( -name '*.so' -o -name uwsgi \) -exec strip --strip-unneeded {} + \
    && find /opt/venv/lib -regex '.*/site-packages/\(csp\|jsonschema\|referencing\|supervisor\)/tests' -prune \
        -exec rm -r {} + \
    # Of AWS' hundreds of services, S3 and what its credentials come from; of two viewers of the API's
    # description, the one that is used.
    && find /opt/venv/lib -path '*/boto*/data/*' -type d -prune \
        ! -name s3 ! -name sts ! -name 'sso*' ! -name signin -exec rm -r {} + \
    && rm -r /opt/venv/lib/python3*/site-packages/drf_spectacular_sidecar/static/drf_spectacular_sidecar/redoc
# remove_kafka: begin
# Kafka's client, where it is the message broker.
COPY requirements/kafka.txt /tmp/kafka.txt
ARG BROKER=redis
RUN [ "$BROKER" != kafka ] \
    || pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes --requirement /tmp/kafka.txt
# remove_kafka: end

FROM debian:trixie-slim AS mysite-base
COPY requirements/apt.txt /tmp/apt.txt
# upgrade: fixes that Debian has published since its image was built.
RUN sed -i 's/[#\r].*//' /tmp/apt.txt && apt-get update && apt-get upgrade -y \
    && xargs -a /tmp/apt.txt apt-get install -y --no-install-recommends \
        ca-certificates libmariadb3 libnginx-mod-http-brotli-static libpq5 libpython3.13 nginx python3 \
    && rm -rf /var/lib/apt/lists/* /tmp/apt.txt /etc/nginx/sites-enabled /var/log/nginx/* \
    # Python's own tests and the words of help(), and what Debian kept of the state before.
    && rm -rf /usr/lib/python3.13/test /usr/lib/python3.13/pydoc_data /var/cache/debconf/*-old /var/lib/dpkg/*-old \
    && groupadd --gid 10001 mysite \
    && useradd --uid 10001 --gid mysite --no-create-home --home-dir /srv/project \
        --shell /usr/sbin/nologin mysite \
    # The only places that a server may write to; a volume or tmpfs put there takes this owner over.
    && install -d -o mysite -g mysite -m 0750 /run/mysite /srv/media /srv/private /srv/kept/static /srv/stackctl \
    && install -d -o mysite -g mysite -m 0700 /srv/bodies \
    && mkdir /srv/messages
COPY --from=mysite-builder /opt/venv /opt/venv
# PRIVATE_ROOT is a folder, no secret.
# hadolint ignore=DL3064
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DJANGO_READ_DOTENV=false \
    STATIC_ROOT=/srv/static \
    MEDIA_ROOT=/srv/media \
    PRIVATE_ROOT=/srv/private \
    MESSAGES_ROOT=/srv/messages \
    UPLOAD_TEMP_DIR=/srv/bodies \
    DRAIN_FILE=/run/mysite/drain \
    WORKER_HEARTBEAT_FILE=/run/mysite/worker-heartbeat \
    PROMETHEUS_MULTIPROC_DIR=/run/mysite/metrics \
    APP_SERVER=uwsgi \
    WEB_CONCURRENCY=2
WORKDIR /srv/project
STOPSIGNAL SIGTERM
ENTRYPOINT ["/srv/project/supervisor/entrypoint"]
CMD ["serve"]
# Through nginx down to Django, and only a 200 counts: an error page of nginx is a failure.
HEALTHCHECK --interval=5s --timeout=5s --retries=3 --start-period=60s --start-interval=0.5s \
    CMD ["/srv/project/supervisor/healthcheck"]

# The production layer.

# Django's system checks; hashed static files and compiled translations (ops/messages.py), made without
# any secret.
FROM mysite-base AS mysite-collected
COPY . /srv/project
RUN export DJANGO_BUILD=1 DJANGO_SETTINGS_MODULE=mysite.settings.production \
    && python manage.py check --deploy \
    && python manage.py collectstatic --noinput --verbosity 0

# gzip and brotli variants. The cache key of COPY is the content, so this runs again only when a
# static file has changed, not after every change of code.
FROM mysite-base AS mysite-static
RUN apt-get update \
    && apt-get install -y --no-install-recommends brotli \
    && rm -rf /var/lib/apt/lists/*
COPY nginx/precompress /usr/local/bin/precompress
COPY --from=mysite-collected /srv/static /srv/static
RUN precompress /srv/static

FROM mysite-base AS mysite-production
ENV DJANGO_SETTINGS_MODULE=mysite.settings.production
COPY --from=mysite-static /srv/static /srv/static
COPY --from=mysite-collected /srv/messages /srv/messages
COPY . /srv/project
# Once, and not at each start: containers cannot write there. What does not compile fails where it is used.
RUN python -m compileall -qq /srv || true
# Elastic Beanstalk reads this line from the file; a port inherited from a base image does not count. # remove_beanstalk
EXPOSE 7999
USER 10001:10001
# Last, because it changes with every commit.
ARG RELEASE=unreleased
ENV RELEASE=$RELEASE
