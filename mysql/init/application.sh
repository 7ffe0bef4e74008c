#!/bin/bash
# Run once, on an empty volume: makes the application's user, to whom rows of its own database are open and nothing
# else (rights). The image would make one by MYSQL_USER and MYSQL_PASSWORD, but puts both into its SQL as they are: a
# quote in a password ends its first start, and a backslash makes it another password.
set -euo pipefail

secret=/run/secrets/DB_PASSWORD
[ ! -f $secret ] || DB_PASSWORD=$(cat $secret)
if [ "$DB_USER" = root ]; then
    echo "DB_USER is root, the superuser's name. Choose another one, then: docker compose down --volumes" >&2
    exit 1
fi

quote=\'
# Inside a text only its quote means anything, because of the sql_mode below.
text() { printf "'%s'" "${1//$quote/$quote$quote}"; }
# Of databases whose names match: the escaped _ and % match themselves alone.
# https://dev.mysql.com/doc/refman/9.7/en/grant.html#grant-quoting
named() {
    local name=${1//\\/\\\\}
    name=${name//_/\\_}
    name=${name//%/\\%}
    # shellcheck disable=SC2016 # the backticks are SQL's
    printf '`%s`' "${name//\`/\`\`}"
}

# The local layer runs tests in the stack (`manage.py test`): each database of theirs is named test_NAME..., and no other.
tests=
if [ "${LAYER:-}" = local ]; then
    own=$(named "test_$MYSQL_DATABASE")
    tests=$'\n'"GRANT ALL ON ${own%\`}%\`.* TO $(text "$DB_USER")@'%';"
fi

# By standard input: no password is among a process's arguments. The image made root's, and the database.
{
    cat <<SQL
SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES';
CREATE USER $(text "$DB_USER")@'%' IDENTIFIED BY $(text "$DB_PASSWORD");$tests
SQL
    rights
} | MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql --protocol=socket --user=root --default-character-set=utf8mb4
