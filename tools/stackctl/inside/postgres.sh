#!/bin/bash
# Runs inside PostgreSQL's container, as the server's own user. Arguments: what to do, with which database (default:
# the application's), and more. A restore loads into a database of its own, which then takes the other one's name.
set -euo pipefail

live=$POSTGRES_DB
replaced=stackctl_replaced
action=$1
database=${2:-$live}
# Not as an argument, where a name could be a connection string.
export PGUSER=$POSTGRES_USER PGDATABASE=$database
# Whatever the database or the server sets for everybody else.
export PGOPTIONS='-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0'

client() { psql --no-psqlrc --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 --set "database=$database" --set "live=$live" "$@"; }
remove() { PGDATABASE=postgres client --set "gone=$1" <<<'SET client_min_messages = warning; DROP DATABASE IF EXISTS :"gone" WITH (FORCE);'; }

# Of the extras, what counts for the roles of all databases (`only`), or the rest (`without`).
of_roles() { awk -v only="$([ "$1" = only ] && echo 1)" '
    { roles = /^GRANT .* TO .* WITH ADMIN (true|false), INHERIT / || /^ALTER ROLE / && !/ IN DATABASE :"database" SET / }
    (roles != 0) == (only != "")'; }

case $action in
    dump)
        # The key of \restrict is random by default, and a dump of the same data another text. Releases before August 2025
        # have none.
        options=()
        [[ $(pg_dump --help) != *--restrict-key* ]] || options=(--restrict-key=stackctl)
        pg_dump "${options[@]}"
        ;;

    # What of a database no dump has: who may own something in it, and its own settings. For psql, whose variable `database`
    # is the database's name.
    extras)
        client <<'END'
SELECT format('SELECT %L WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = %L) \gexec',
    format('CREATE ROLE %I %s CONNECTION LIMIT %s PASSWORD %L%s', rolname, concat_ws(' ',
        CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN NOT rolinherit THEN 'NOINHERIT' END,
        CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
        CASE WHEN rolcanlogin THEN 'LOGIN' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
        CASE WHEN rolbypassrls THEN 'BYPASSRLS' END),
        rolconnlimit, rolpassword, ' VALID UNTIL ' || quote_literal(rolvaliduntil)), rolname)
    FROM pg_authid WHERE rolname !~ '^pg_' AND oid <> 10 ORDER BY rolname;
SELECT format('GRANT %I TO %I WITH ADMIN %s, INHERIT %s, SET %s;', role.rolname, member.rolname,
    admin_option::text, inherit_option::text, set_option::text)
    FROM pg_auth_members JOIN pg_roles role ON role.oid = roleid JOIN pg_roles member ON member.oid = member
    WHERE member.rolname !~ '^pg_' ORDER BY 1;
SELECT format('ALTER DATABASE :"database" OWNER TO %I; ALTER DATABASE :"database" CONNECTION LIMIT %s;'
    ' REVOKE ALL ON DATABASE :"database" FROM PUBLIC;', pg_get_userbyid(datdba), datconnlimit)
    FROM pg_database WHERE datname = current_database();
SELECT format('GRANT %s ON DATABASE :"database" TO %s%s;', privilege_type,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE datname = current_database() ORDER BY 1;
SELECT format('COMMENT ON DATABASE :"database" IS %L;', shobj_description(oid, 'pg_database'))
    FROM pg_database WHERE datname = current_database();
-- Lists of names are kept as they were written, each name quoted; all else is one text.
SELECT format('ALTER %s SET %I = %s;',
    CASE WHEN setrole = 0 THEN 'DATABASE :"database"'
        WHEN setdatabase = 0 THEN format('ROLE %I', rolname)
        ELSE format('ROLE %I IN DATABASE :"database"', rolname) END,
    split_part(setting, '=', 1),
    CASE WHEN split_part(setting, '=', 1) IN ('search_path', 'temp_tablespaces', 'local_preload_libraries', 'session_preload_libraries')
        AND setting !~ '=$' THEN substr(setting, strpos(setting, '=') + 1)
        ELSE quote_literal(substr(setting, strpos(setting, '=') + 1)) END)
    FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS setting LEFT JOIN pg_roles ON pg_roles.oid = setrole
    WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) AND setrole <> 10 ORDER BY 1;
END
        ;;

    prepare)
        remove "$database"
        {
            # An error or a slow statement would put a role's password, as it is kept, into the log.
            echo 'SET log_min_error_statement = panic; SET log_min_duration_statement = -1; SET client_min_messages = warning;'
            # shellcheck disable=SC2016 # psql's backticks and variables
            echo '\getenv user DB_USER
CREATE DATABASE :"database" TEMPLATE template0 OWNER :"user";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;'
            of_roles without
        } | PGDATABASE=postgres client >/dev/null
        ;;

    load)
        # A dump of an earlier release names no owner, and all of it is the application's.
        {
            [ "${3:-}" != application ] || printf '%s\n' '\getenv user DB_USER' 'SET ROLE :"user";'
            cat
        } | client >/dev/null
        # One of a stack with another DB_USER. `migration` is the same in every stack (rights).
        client >/dev/null <<'END'
\getenv user DB_USER
SELECT format('REASSIGN OWNED BY %I TO %I', pg_get_userbyid(datdba), :'user') FROM pg_database
    WHERE datname = current_database() AND pg_get_userbyid(datdba) NOT IN (:'user', 'migration') \gexec
END
        ;;

    # Both names and the roles change at once, as soon as no client is connected to either database; clients that connect again are in time.
    # 8: it failed, and the live data are as they were.
    switch)
        roles=$(of_roles only)
        remove $replaced || exit 8
        for left in 4 3 2 1 0; do
            if PGDATABASE=postgres client --set replaced=$replaced >/dev/null <<END
SET client_min_messages = warning;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN (:'live', :'database');
BEGIN;
ALTER DATABASE :"live" RENAME TO :"replaced";
ALTER DATABASE :"database" RENAME TO :"live";
$roles
COMMIT;
END
            then
                break
            fi
            if [ $left = 0 ]; then
                copies=$(PGDATABASE=postgres client --set replaced=$replaced <<<"SELECT count(*) FROM pg_database WHERE datname = :'replaced'")
                [ "$copies" != 0 ] || exit 8
                exit 1
            fi
        done
        ! type -P rights >/dev/null || rights restored
        remove $replaced || true
        ;;

    inventory)
        client <<'END'
SELECT c.relkind::text || ' ' || c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') ORDER BY 1;
SELECT 'function ' || p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1;
SELECT 'trigger ' || tgname || ' on ' || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1;
SELECT 'event trigger ' || evtname FROM pg_event_trigger ORDER BY 1;
SELECT 'extension ' || extname FROM pg_extension ORDER BY 1;
SELECT 'large objects ' || count(*) FROM pg_largeobject_metadata;
END
        ;;

    remove)
        remove "$database"
        ;;

    # The argument behind the database: `admin`, or else with the rights of the application's user.
    shell)
        export PGDATABASE=$live PGOPTIONS='' PSQL_HISTORY=/dev/null
        [ "${3:-}" = admin ] || export PGOPTIONS="-c role=$DB_USER"
        # SQL from a file ends at its first error.
        [ -t 0 ] && end=0 || end=1
        exec psql --no-psqlrc --set="ON_ERROR_STOP=$end"
        ;;

    knows)
        IFS= read -r password
        said=$(PGPASSWORD=$password PGCONNECT_TIMEOUT=5 psql --no-psqlrc --host=127.0.0.1 --username="$DB_USER" --command='' 2>&1) ||
            case $said in
                *'password authentication failed'*) exit 3 ;;
                *) echo "$said" >&2; exit 1 ;;
            esac
        ;;

    # A role has one password. Clients that have the former one still connect by their address, until it is retired.
    accept)
        IFS= read -r password
        grep -q rotation.conf /etc/postgresql/pg_hba.conf || {
            echo "it is of an earlier release; recreate it: docker compose up --detach --no-deps db" >&2
            exit 1
        }
        for address in "${@:3}"; do
            printf 'host "%s" "%s" %s/32 trust\n' "${live//\"/\"\"}" "${DB_USER//\"/\"\"}" "$address"
        done >/var/run/postgresql/rotation.conf
        before=$(client --command='SELECT pg_conf_load_time()')
        client --command='SELECT pg_reload_conf()' >/dev/null
        for _ in {1..50}; do
            [ "$(client --command='SELECT pg_conf_load_time()')" = "$before" ] || break
            sleep 0.1
        done
        PASSWORD=$password client <<'END'
\getenv user DB_USER
\getenv password PASSWORD
SET log_min_error_statement = panic;
SET log_min_duration_statement = -1;
ALTER ROLE :"user" PASSWORD :'password';
END
        ;;

    retire)
        rm -f /var/run/postgresql/rotation.conf
        client --command='SELECT pg_reload_conf()' >/dev/null
        ;;
esac
