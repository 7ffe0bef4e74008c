#!/usr/bin/env bash
# Prepares the data directory at the first start, then becomes the server.
set -eu

scripts=/docker-entrypoint-initdb.d
server=
root_password=

say() { printf 'mysql stand-in: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

# NAME, or what the file that NAME_FILE names holds.
setting() {
  local name=$1 file_name=${1}_FILE
  if [ -z "${!file_name:-}" ]; then return; fi
  [ -z "${!name:-}" ] || fail "$name and $file_name are both set; keep one of them."
  [ -r "${!file_name}" ] || fail "$file_name names ${!file_name}, which cannot be read; check the mount and its mode."
  export "$name=$(<"${!file_name}")"
  unset "$file_name"
}

# Done before root is given up: a secret's file may be root's alone.
read_settings() {
  local name
  for name in MYSQL_ROOT_PASSWORD MYSQL_ROOT_HOST MYSQL_DATABASE MYSQL_USER MYSQL_PASSWORD; do setting "$name"; done
}

check_settings() {
  [ -n "${MYSQL_ROOT_PASSWORD:-}${MYSQL_RANDOM_ROOT_PASSWORD:-}${MYSQL_ALLOW_EMPTY_PASSWORD:-}" ] ||
    fail "the data directory is empty and nothing says what root's password is; set MYSQL_ROOT_PASSWORD (or _FILE)," \
      "MYSQL_RANDOM_ROOT_PASSWORD=yes or MYSQL_ALLOW_EMPTY_PASSWORD=yes."
  [ "${MYSQL_USER:-}" != root ] || fail "MYSQL_USER may not be root, who exists already; name the application's user."
  [ -n "${MYSQL_USER:-}" ] || [ -z "${MYSQL_PASSWORD:-}" ] || say "MYSQL_PASSWORD without MYSQL_USER: no user is made."
  [ -n "${MYSQL_PASSWORD:-}" ] || [ -z "${MYSQL_USER:-}" ] || say "MYSQL_USER without MYSQL_PASSWORD: no user is made."
}

# The server's own view of a variable: a file in conf.d or an option may have changed it.
server_variable() {
  "${command[@]}" --verbose --help --log-bin-index=/tmp/unused.index 2>/dev/null |
    awk -v name="$1" '/^[a-z]/ && $1 == name { print $2; exit }'
}

check_configuration() {
  "${command[@]}" --validate-config ||
    fail "mysqld refuses its configuration (above); check /etc/mysql/conf.d and the options."
}

# mysqld will not run as root. Mounted directories may belong to anybody.
become_mysql() {
  local directory
  for directory in "$data" "$(dirname "$socket")"; do
    mkdir -p "$directory"
    find "$directory" ! -user mysql -exec chown mysql:mysql {} +
  done
  exec setpriv --reuid=mysql --regid=mysql --init-groups "$0" "${command[@]}"
}

# Names and passwords are in the SQL below unescaped, as in the public image: whoever has a quote or a
# backslash in one is to notice it here.

# Passwords reach the client in a file descriptor, never among the arguments that a process list shows.
client_options() {
  printf '[client]\nuser=root\nprotocol=socket\nsocket="%s"\n' "$socket"
  [ -z "$root_password" ] || printf 'password=%s\n' "$root_password"
}

client() {
  local program=$1
  shift
  "$program" --defaults-extra-file=<(client_options) "$@"
}

sql() { client mysql --comments --default-character-set=utf8mb4 "$@"; }

# Nobody reaches this server over the network, so nobody takes it for the real one.
start_temporary_server() {
  "${command[@]}" --skip-networking --mysqlx=OFF --socket="$socket" &
  server=$!
  until client mysqladmin --silent ping >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || fail "the server for the first start ended by itself; its messages are above."
    sleep 0.1
  done
}

stop_temporary_server() {
  [ -n "$server" ] || return 0
  kill "$server" 2>/dev/null || true
  wait "$server" || fail "the server for the first start did not end cleanly; its messages are above."
  server=
}

load_time_zones() {
  [ -z "${MYSQL_INITDB_SKIP_TZINFO:-}" ] || return 0
  { echo 'SET SESSION sql_log_bin = 0;'; mysql_tzinfo_to_sql /usr/share/zoneinfo 2>/dev/null; } | sql mysql
}

set_root_password() {
  local host=${MYSQL_ROOT_HOST:-%} password=${MYSQL_ROOT_PASSWORD:-}
  if [ -n "${MYSQL_RANDOM_ROOT_PASSWORD:-}" ]; then
    password=$(head -c 24 /dev/urandom | base64)
    export MYSQL_ROOT_PASSWORD=$password
    say "GENERATED ROOT PASSWORD: $password"
  fi
  {
    echo "SET SESSION sql_log_bin = 0;"
    if [ "$host" != localhost ]; then
      echo "CREATE USER 'root'@'$host' IDENTIFIED BY '$password';"
      echo "GRANT ALL ON *.* TO 'root'@'$host' WITH GRANT OPTION;"
    fi
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$password';"
  } | sql
  root_password=$password
}

make_database_and_user() {
  {
    [ -z "${MYSQL_DATABASE:-}" ] || echo "CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`;"
    if [ -n "${MYSQL_USER:-}" ] && [ -n "${MYSQL_PASSWORD:-}" ]; then
      echo "CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$MYSQL_PASSWORD';"
      # In a GRANT the underscore is a wildcard.
      [ -z "${MYSQL_DATABASE:-}" ] || echo "GRANT ALL ON \`${MYSQL_DATABASE//_/\\_}\`.* TO '$MYSQL_USER'@'%';"
    fi
  } | sql
}

run_scripts() {
  local file database=()
  [ -z "${MYSQL_DATABASE:-}" ] || database=("--database=$MYSQL_DATABASE")
  for file in "$scripts"/*; do
    case $file in
      *.sh)
        say "running $file"
        # shellcheck disable=SC1090 # the user's; without an executable bit it is read into this shell, as in the public image
        if [ -x "$file" ]; then "$file"; else set +u; . "$file"; set -u; fi ;;
      *.sql) say "running $file"; sql "${database[@]}" <"$file" ;;
      *.sql.gz) say "running $file"; gunzip -c "$file" | sql "${database[@]}" ;;
      "$scripts/*") ;;
      *) say "leaving out $file: only *.sh, *.sql and *.sql.gz are run" ;;
    esac
  done
}

# The mark stays when something fails half-way: such data must not pass for a database at the next start.
first_start() {
  local mark=$data/.first-start-unfinished
  # Process 1 has no default answer to a signal.
  trap 'stop_temporary_server; exit 143' TERM INT
  say "first start: making the system tables"
  touch "$mark"
  "${command[@]}" --initialize-insecure --datadir="$data"
  start_temporary_server
  load_time_zones
  set_root_password
  make_database_and_user
  run_scripts
  stop_temporary_server
  rm "$mark"
  trap - TERM INT
  say "first start: done"
}

case ${1:-} in -*) set -- mysqld "$@" ;; esac
command=("$@")

only_asked() {
  local argument
  for argument in "${command[@]}"; do
    case $argument in -'?' | -V | --help | --version | --print-defaults | --verbose) return 0 ;; esac
  done
  return 1
}

if [ "${1:-}" = mysqld ] && ! only_asked; then
  check_configuration
  data=$(server_variable datadir)
  data=${data%/}
  socket=$(server_variable socket)
  read_settings
  [ "$(id -u)" != 0 ] || become_mysql
  [ ! -e "$data/.first-start-unfinished" ] ||
    fail "an earlier first start was interrupted or a script failed; remove the data volume and start again."
  if [ ! -d "$data/mysql" ]; then
    check_settings
    first_start
  fi
fi

exec "$@"
