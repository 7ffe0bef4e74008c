#!/bin/bash
# Runs inside MySQL's container, as root. Arguments: what to do, and with which database (default: the application's).
# A restore loads into a database of its own; tables move to the application's in one RENAME TABLE, the rest is
# extracted from there and created again, since only tables can move.
set -euo pipefail

live=$MYSQL_DATABASE
replaced=stackctl_replaced
action=$1
database=${2:-$live}

# As the application signs in: by the network, which is down during the first start.
accepts() {
    local said
    said=$(MYSQL_PWD=$1 mysql --protocol=tcp --host=127.0.0.1 --user="$DB_USER" --connect-timeout=5 --execute='DO 0' 2>&1) ||
        case $said in
            *'ERROR 1045'*) return 3 ;;
            *) echo "$said" >&2; return 1 ;;
        esac
}
if [ "$action" = knows ]; then
    IFS= read -r password
    code=0
    accepts "$password" || code=$?
    exit $code
fi

# The largest packet that there is: a row that the application has written in pieces is longer than its own limit.
packet=1073741824
account=(--user=stackctl --protocol=socket)
if ! mysql "${account[@]}" --execute='DO 0' 2>/dev/null; then
    case $action in
        dump | extras) ;;
        *)
            echo "MySQL's container is of an earlier release and has no account for this." \
                "Recreate it: docker compose up --detach --no-deps db" >&2
            exit 1
            ;;
    esac
    account=("--user=${DB_USER:-$MYSQL_USER}")
    export MYSQL_PWD=${DB_PASSWORD:-$MYSQL_PASSWORD}
fi

# 8: a switch that failed, and the live data are as they were.
untouched=0
folder=$(mktemp -d)
ended() {
    local code=$?
    rm -r "$folder"
    [ -z "${limit:-}" ] || client --execute="SET GLOBAL max_allowed_packet = $limit"
    [ $code = 0 ] || [ $untouched = 0 ] || exit 8
}
trap ended EXIT
# The scratch database is removed again, so it does not belong in the binary log.
log=1
[ "$database" != stackctl_verify ] || log=0

client() {
    mysql "${account[@]}" --default-character-set=utf8mb4 --max-allowed-packet=$packet --binary-mode \
        --init-command="SET SESSION sql_log_bin = $log, lock_wait_timeout = 60" "$@"
}
query() { client --batch --raw --skip-column-names "$@"; }
dumper() {
    mysqldump "${account[@]}" --default-character-set=utf8mb4 --max-allowed-packet=$packet --single-transaction \
        --no-tablespaces --set-gtid-purged=OFF --hex-blob --skip-comments "$@"
}
# As SQL: a name, and a text. Names have no backslash escapes; texts are quoted with the default sql_mode.
# shellcheck disable=SC2016 # the backticks are SQL's
name() { printf '`%s`' "${1//\`/\`\`}"; }
text() {
    local quoted=${1//\\/\\\\}
    printf "'%s'" "${quoted//\'/\'\'}"
}

# names KIND DATABASE: one a line.
names() {
    local schema
    schema=$(text "$2")
    case $1 in
        tables) query --execute="SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA = $schema ORDER BY 1" ;;
        views) query --execute="SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = $schema ORDER BY 1" ;;
        broken) query --execute="SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'VIEW' AND TABLE_COMMENT <> 'VIEW' AND TABLE_SCHEMA = $schema ORDER BY 1" ;;
        triggers) query --execute="SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = $schema ORDER BY 1" ;;
        procedures) query --execute="SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_TYPE = 'PROCEDURE' AND ROUTINE_SCHEMA = $schema ORDER BY 1" ;;
        functions) query --execute="SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_TYPE = 'FUNCTION' AND ROUTINE_SCHEMA = $schema ORDER BY 1" ;;
        events) query --execute="SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = $schema ORDER BY 1" ;;
    esac
}

# drop KIND SQL DATABASE: all of a kind.
drop() {
    local each
    names "$1" "$3" | while IFS= read -r each; do
        printf 'DROP %s %s.%s;\n' "$2" "$(name "$3")" "$(name "$each")"
    done | client
}

# The same text for the same database, whatever its name: a view calls a function by that name too; and a collation, from
# which the character set follows, is explicit in a column only once it has been loaded.
neutral() {
    local own
    own=$(name "$1" | sed 's/[]\/.*[^$]/\\&/g')
    LC_ALL=C sed "/^\\/\\*!50001 VIEW /s/$own\\.//g; /^  \`/s/ CHARACTER SET [a-z0-9]* COLLATE / COLLATE /"
}

# What of a database cannot move: routines and triggers, then the views, which may call them.
objects() {
    local views
    dumper --no-create-info --no-data --ignore-views --routines --triggers "$1"
    mapfile -t views < <(names views "$1")
    [ ${#views[@]} = 0 ] || dumper "$1" "${views[@]}" | neutral "$1"
}

remove() { client --execute="DROP DATABASE IF EXISTS $(name "$1")"; }

# moves FROM TO: each table's half of a RENAME TABLE.
moves() {
    local each
    names tables "$1" | while IFS= read -r each; do
        printf '%s.%s TO %s.%s\n' "$(name "$1")" "$(name "$each")" "$(name "$2")" "$(name "$each")"
    done
}

# The accounts that may do something in the application's database or define something there, those that have one of them
# as a role, and what they may do.
accounts() {
    local each schema escaped pattern known
    # In a GRANT on a database `_` and `%` are wildcards, unless escaped.
    escaped=${live//\\/\\\\}
    escaped=${escaped//_/\\_}
    escaped=${escaped//%/\\%}
    schema=$(text "$live")
    pattern=$(text "$escaped")
    known="
        WITH RECURSIVE known (User, Host) AS (
        SELECT User, Host FROM mysql.user WHERE
            User NOT LIKE 'mysql.%' AND NOT (User IN ('root', 'stackctl') AND Host = 'localhost') AND (
            (User, Host) IN (SELECT User, Host FROM mysql.db WHERE Db IN ($schema, $pattern)
                UNION SELECT User, Host FROM mysql.tables_priv WHERE Db = $schema
                UNION SELECT User, Host FROM mysql.procs_priv WHERE Db = $schema)
            OR CONCAT(User, '@', Host) IN (
                SELECT DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = $schema
                UNION SELECT DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = $schema
                UNION SELECT DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = $schema
                UNION SELECT DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = $schema))
        UNION SELECT TO_USER, TO_HOST FROM mysql.role_edges JOIN known ON (FROM_USER, FROM_HOST) = (User, Host))"
    query --execute="$known SELECT CONCAT(QUOTE(User), '@', QUOTE(Host)) FROM known ORDER BY 1" >"$folder/accounts"
    while IFS= read -r each; do
        # A default role has to exist, and be granted, before (below).
        # shellcheck disable=SC2016 # the backticks are SQL's
        query --execute="SET print_identified_with_as_hex = ON; SHOW CREATE USER $each" |
            sed -E 's/^CREATE USER /CREATE USER IF NOT EXISTS /; s/ DEFAULT ROLE (,?`([^`]|``)*`@`([^`]|``)*`)+ REQUIRE / REQUIRE /; s/$/;/'
        query --execute="SHOW GRANTS FOR $each" >"$folder/grants"
        for each in "$live" "$escaped"; do
            grep --fixed-strings --regexp=" ON $(name "$each")." --regexp=" ON PROCEDURE $(name "$each")." \
                --regexp=" ON FUNCTION $(name "$each")." "$folder/grants" | sed 's/$/;/' || true
        done | sort --unique
    done <"$folder/accounts"
    query --execute="$known SELECT CONCAT('GRANT ', QUOTE(FROM_USER), '@', QUOTE(FROM_HOST), ' TO ', QUOTE(TO_USER), '@',
        QUOTE(TO_HOST), IF(WITH_ADMIN_OPTION = 'Y', ' WITH ADMIN OPTION;', ';')) FROM mysql.role_edges
        WHERE (FROM_USER, FROM_HOST) IN (SELECT * FROM known) AND (TO_USER, TO_HOST) IN (SELECT * FROM known) ORDER BY 1"
    query --execute="SET SESSION group_concat_max_len = 1048576; $known SELECT CONCAT('ALTER USER ', QUOTE(USER), '@', QUOTE(HOST), ' DEFAULT ROLE ',
        GROUP_CONCAT(QUOTE(DEFAULT_ROLE_USER), '@', QUOTE(DEFAULT_ROLE_HOST) ORDER BY DEFAULT_ROLE_USER), ';') FROM mysql.default_roles
        WHERE (DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST) IN (SELECT * FROM known) GROUP BY USER, HOST ORDER BY 1"
}

# all_moves: both halves of the RENAME TABLE that switches.
all_moves() {
    moves "$live" $replaced
    moves "$database" "$live"
}

# After an error: if no table has moved, the triggers that were dropped come back.
put_back() {
    [ "$(all_moves)" = "$(<"$folder/moves")" ] || exit 1
    client --force "$live" <"$folder/old" 2>/dev/null || true
    [ "$(names triggers "$live")" = "$(<"$folder/triggers")" ] || exit 1
    untouched=1
    exit 1
}

case $action in
    # `lenient`: without the views that are broken, which MySQL can neither dump nor create.
    dump)
        options=()
        if [ "${3:-}" = lenient ]; then
            while IFS= read -r each; do
                echo "left out, because it is broken: the view $each" >&2
                options+=("--ignore-table=$database.$each")
            done < <(names broken "$database")
        fi
        dumper --routines --triggers "${options[@]}" "$database" | neutral "$database"
        echo '-- Dump completed'
        ;;

    # What is loaded only into the application's own database: an event would run elsewhere too.
    extras)
        query --execute="SELECT CONCAT('ALTER DATABASE CHARACTER SET ', DEFAULT_CHARACTER_SET_NAME, ' COLLATE ',
            DEFAULT_COLLATION_NAME, ';') FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = $(text "$live")"
        [ "${account[0]}" != --user=stackctl ] || accounts
        dumper --no-create-info --no-data --ignore-views --skip-triggers --events "$live"
        ;;

    # Of the extras, the character set alone.
    prepare)
        remove "$database"
        client --execute="CREATE DATABASE $(name "$database")"
        head -n 1 | client "$database"
        ;;

    load)
        limit=$(query --execute='SELECT @@GLOBAL.max_allowed_packet')
        client --execute="SET GLOBAL max_allowed_packet = $packet"
        client "$database"
        ;;

    # Everything that can fail for what the backup is has been tried by now, in `load`.
    switch)
        untouched=1
        cat >"$folder/extras"
        objects "$database" >"$folder/new"
        dumper --no-create-info --no-data --ignore-views --triggers "$live" >"$folder/old"
        drop triggers TRIGGER "$database"
        remove $replaced
        client --execute="CREATE DATABASE $replaced"
        all_moves >"$folder/moves"
        names triggers "$live" >"$folder/triggers"
        untouched=0
        drop triggers TRIGGER "$live" || put_back
        if [ -s "$folder/moves" ]; then
            {
                echo 'SET SESSION foreign_key_checks = 0; RENAME TABLE'
                sed '$!s/$/,/; $s/$/;/' "$folder/moves"
            } | client || put_back
        fi
        drop views VIEW "$live"
        drop events EVENT "$live"
        drop procedures PROCEDURE "$live"
        drop functions FUNCTION "$live"
        head -n 1 "$folder/extras" | client "$live"
        client "$live" <"$folder/new"
        client "$live" <"$folder/extras"
        # A backup of an earlier release gives its user all rights again.
        ! type -P rights >/dev/null || rights restored | client
        remove $replaced || true
        remove "$database" || true
        ;;

    inventory)
        for kind in tables views triggers procedures functions; do
            names $kind "$database" | sed "s/^/$kind /"
        done
        ;;

    remove)
        remove "$database"
        ;;

    # The argument behind the database: `admin`, or the application's user.
    shell)
        rm -r "$folder"
        if [ "${3:-}" != admin ]; then
            account=("--user=$DB_USER" --protocol=tcp --host=127.0.0.1)
            [ ! -f /run/secrets/DB_PASSWORD ] || DB_PASSWORD=$(cat /run/secrets/DB_PASSWORD)
            export MYSQL_PWD=$DB_PASSWORD
        fi
        exec mysql "${account[@]}" --default-character-set=utf8mb4 "$live"
        ;;

    # MySQL keeps one former password; accepted already means that a run before this one was cut off.
    accept)
        IFS= read -r password
        if ! accepts "$password" 2>/dev/null; then
            client <<END
SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES';
ALTER USER '${DB_USER//\'/\'\'}'@'%' IDENTIFIED BY '${password//\'/\'\'}' RETAIN CURRENT PASSWORD;
END
        fi
        ;;

    # The given password may be the one that MySQL would discard: a former value was put back into .env.
    retire)
        IFS= read -r password
        client <<END
SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES';
ALTER USER '${DB_USER//\'/\'\'}'@'%' IDENTIFIED BY '${password//\'/\'\'}';
ALTER USER '${DB_USER//\'/\'\'}'@'%' DISCARD OLD PASSWORD;
END
        ;;
esac
