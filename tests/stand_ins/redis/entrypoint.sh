#!/bin/sh
set -eu

# Options, or a configuration file, alone are meant for redis-server.
case ${1:-} in -* | *.conf) set -- redis-server "$@" ;; esac

# Root hands the data over to the user redis and becomes it.
if [ "${1:-}" = redis-server ] && [ "$(id -u)" = 0 ]; then
  find . \! -user redis -exec chown redis '{}' +
  exec setpriv --reuid=redis --regid=redis --clear-groups "$@"
fi

exec "$@"
