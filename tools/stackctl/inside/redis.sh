#!/bin/bash
# Runs inside Redis' container, as its user. Argument: what to do with the password on standard input.
set -euo pipefail

IFS= read -r password
hash_of() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
new="#$(hash_of "$password")"
given=$(hash_of "$REDIS_PASSWORD")
current="#$given"
# For the next start of this container, which has REDIS_PASSWORD as it is now.
kept=/data/passwords
if [ -e $kept ]; then
    read -r former replaced <$kept
    [ "$former" != "$given" ] || current=$replaced
fi

# set_users PASSWORDS RULES...: the passwords of the next start, and the rules of both users of the application now.
set_users() {
    local answer user
    [ -e /data/administrator ] || {
        echo "it is of an earlier release; recreate it: docker compose up --detach --no-deps redis" >&2
        exit 1
    }
    echo "$given $1" >$kept.new
    mv $kept.new $kept
    for user in default "$REDIS_USERNAME"; do
        answer=$(REDISCLI_AUTH=$(cat /data/administrator) redis-cli --user administrator -t 5 \
            ACL SETUSER "$user" "${@:2}")
        [ "$answer" = OK ] || { echo "$answer" >&2; exit 1; }
    done
}

case $1 in
    knows)
        answer=$(REDISCLI_AUTH=$password redis-cli --user "${REDIS_USERNAME:-default}" -t 5 ping 2>&1) || true
        case $answer in
            *WRONGPASS* | *NOAUTH*) exit 3 ;;
            *PONG) ;;
            *) echo "$answer" >&2; exit 1 ;;
        esac
        ;;
    accept)
        # With the former ones, but no password twice.
        [[ " $current " = *" $new "* ]] || current="$new $current"
        set_users "$current" "$new"
        ;;
    retire) set_users "$new" resetpass "$new" ;;
esac
