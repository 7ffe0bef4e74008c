#!/usr/bin/env bash
# Prepares the data directory at the first start, then becomes the server.
set -eu

scripts=/docker-entrypoint-initdb.d

say() { printf 'postgres stand-in: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

# NAME, or what the file that NAME_FILE names holds, or the default.
setting() {
  local name=$1 file_name=${1}_FILE default=${2:-}
  if [ -n "${!file_name:-}" ]; then
    [ -z "${!name:-}" ] || fail "$name and $file_name are both set; keep one of them."
    [ -r "${!file_name}" ] || fail "$file_name names ${!file_name}, which cannot be read; check the mount and its mode."
    export "$name=$(<"${!file_name}")"
    unset "$file_name"
  else
    export "$name=${!name:-$default}"
  fi
}

# Done before root is given up: a secret's file may be root's alone.
read_settings() {
  setting POSTGRES_PASSWORD
  setting POSTGRES_USER postgres
  setting POSTGRES_DB "$POSTGRES_USER"
  setting POSTGRES_INITDB_ARGS
  : "${POSTGRES_HOST_AUTH_METHOD:=}"
}

check_settings() {
  [ -n "$POSTGRES_PASSWORD" ] || [ "$POSTGRES_HOST_AUTH_METHOD" = trust ] ||
    fail "the data directory is empty and nothing says what the superuser's password is; set POSTGRES_PASSWORD (or" \
      "_FILE), or POSTGRES_HOST_AUTH_METHOD=trust."
}

make_directories() {
  local user
  user=$(id -u)
  mkdir -p "$PGDATA" /var/run/postgresql || true
  # Not possible for a user who does not own them; the server tells then.
  chmod 0700 "$PGDATA" || true
  chmod 3775 /var/run/postgresql 2>/dev/null || true
  [ "$user" != 0 ] || find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres {} +
}

make_cluster() {
  # shellcheck disable=SC2086 # several options in one variable, as in the public image
  eval "initdb --username=\"\$POSTGRES_USER\" --pwfile=<(printf '%s\n' \"\$POSTGRES_PASSWORD\") $POSTGRES_INITDB_ARGS"
}

allow_the_network() {
  local method=${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption "$@")}
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

sql() { psql --no-psqlrc --no-password --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" "$@"; }

make_database() {
  [ "$POSTGRES_DB" != postgres ] || return 0
  sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
}

run_scripts() {
  local file
  for file in "$scripts"/*; do
    case $file in
      *.sh)
        say "running $file"
        # shellcheck disable=SC1090 # the user's; without an executable bit it is read into this shell, as in the public image
        if [ -x "$file" ]; then "$file"; else set +u; . "$file"; set -u; fi ;;
      *.sql) say "running $file"; sql --dbname "$POSTGRES_DB" --file "$file" ;;
      *.sql.gz) say "running $file"; gunzip -c "$file" | sql --dbname "$POSTGRES_DB" ;;
      "$scripts/*") ;;
      *) say "leaving out $file: only *.sh, *.sql and *.sql.gz are run" ;;
    esac
  done
}

# Nobody reaches this server over the network, so nobody takes it for the real one.
first_start() {
  local options="-c listen_addresses='' -p 5432"
  [ $# = 0 ] || options+=$(printf ' %q' "$@")
  PGUSER=$POSTGRES_USER pg_ctl --pgdata="$PGDATA" --wait --options="$options" start
  PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
  export PGPASSWORD
  make_database
  run_scripts
  pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
  unset PGPASSWORD
  say "first start: done"
}

case ${1:-} in -*) set -- postgres "$@" ;; esac

only_asked() {
  local argument
  for argument; do
    case $argument in -'?' | -V | --help | --version | --describe-config) return 0 ;; esac
  done
  return 1
}

if [ "${1:-}" = postgres ] && ! only_asked "$@"; then
  read_settings
  make_directories
  [ "$(id -u)" != 0 ] || exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    check_settings
    make_cluster
    allow_the_network "${@:2}"
    first_start "${@:2}"
  fi
fi

exec "$@"
