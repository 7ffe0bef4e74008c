#!/bin/bash
# Runs inside RabbitMQ's container, as its user. Argument: what to do with the password on standard input.
set -eu

IFS= read -r password

# By a file that only this user can read: an argument would be in the list of processes.
accepts() {
    local file=/run/rabbitmq/asked said
    (umask 077 && printf %s "$password" >$file)
    said=$(rabbitmqctl --quiet eval "{ok, Password} = file:read_file(\"$file\"),
        element(1, rabbit_access_control:check_user_pass_login(<<\"mysite\">>, Password)).") || said=
    rm $file
    case $said in
        ok) return 0 ;;
        refused) return 3 ;;
        *) return 1 ;;
    esac
}

case $1 in
    knows)
        code=0
        accepts || code=$?
        exit $code
        ;;

    # A user has one password. Connections that are open stay; what cannot be sent meanwhile waits in the database.
    accept)
        grep -q 'start password' /usr/local/bin/start || {
            echo "it is of an earlier release; recreate it: docker compose up --detach --no-deps broker" >&2
            exit 1
        }
        accepts || /usr/local/bin/start password <<<"$password"
        ;;

    retire) ;;
esac
