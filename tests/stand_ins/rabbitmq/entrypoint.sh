#!/usr/bin/env bash
set -eu

# Root hands the data over to the user rabbitmq and becomes it.
if [[ ${1:-} == rabbitmq* ]] && [ "$(id -u)" = 0 ]; then
  [ "$1" != rabbitmq-server ] || find /var/lib/rabbitmq \! -user rabbitmq -exec chown rabbitmq '{}' +
  exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups "$0" "$@"
fi

# The public image ends with these too: they were never read by RabbitMQ itself.
for name in RABBITMQ_DEFAULT_PASS_FILE RABBITMQ_DEFAULT_USER_FILE RABBITMQ_VM_MEMORY_HIGH_WATERMARK; do
  [ -z "${!name:-}" ] || { echo "rabbitmq stand-in: $name is set but deprecated; use a file in /etc/rabbitmq/conf.d." >&2; exit 1; }
done

exec "$@"
