#!/bin/sh
set -eu

# Options alone are meant for haproxy.
case ${1:-} in -*) set -- haproxy "$@" ;; esac

# A master that stays in the foreground: it can reload (SIGUSR2), and its end is the container's end.
if [ "${1:-}" = haproxy ]; then
  shift
  set -- haproxy -W -db "$@"
fi

exec "$@"
