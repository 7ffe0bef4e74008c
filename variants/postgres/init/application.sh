#!/bin/bash
# Run once, on an empty volume: makes the application's user, to whom rows of its own database are open and
# nothing else (rights). The image's POSTGRES_USER stays the superuser, as which no client can sign in (pg_hba.conf).
set -eu

secret=/run/secrets/DB_PASSWORD
[ ! -f $secret ] || POSTGRES_PASSWORD=$(cat $secret)
export POSTGRES_PASSWORD
if [ "$DB_USER" = "$POSTGRES_USER" ]; then
    echo "DB_USER is $DB_USER, the superuser's name. Choose another one, then: docker compose down --volumes" >&2
    exit 1
fi

# The local layer runs tests in the stack (`manage.py test`): Django creates and drops their database from the one named postgres.
tests=false
[ "${LAYER:-}" != local ] || tests=true

# psql reads the values from its environment: no password is among a process's arguments, nor in the log,
# should a statement fail or be slow.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set tests=$tests --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv superuser POSTGRES_USER
\getenv database POSTGRES_DB
\getenv user DB_USER
\getenv password POSTGRES_PASSWORD
SET log_min_error_statement = panic;
SET log_min_duration_statement = -1;
CREATE ROLE :"user" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'password';
ALTER ROLE :"superuser" PASSWORD NULL;
ALTER DATABASE :"database" OWNER TO :"user";
REVOKE ALL ON DATABASE :"database", postgres, template1 FROM PUBLIC;
\if :tests
ALTER ROLE :"user" CREATEDB;
GRANT CONNECT ON DATABASE postgres TO :"user";
\endif
SQL
rights
