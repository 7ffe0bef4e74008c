#!/bin/sh
# Prepares an empty Debian (12 or newer) or Ubuntu (24.04 or newer) for the stack. `./stackctl setup USER@SERVER` runs it
# there as root; by hand:
#   sh setup.sh plan       # prints what it would do, and changes nothing
#   sh setup.sh apply      # does it
# It does only what is not done yet, so it can run again at any time.
set -eu

user=mysite folder=/srv/mysite ports='80 443' ssh_port=22
mode=${1:-plan}
[ $# = 0 ] || shift
while [ $# -gt 1 ]; do
    case $1 in
        --user) user=$2 ;;
        --folder) folder=$2 ;;
        --ports) ports=$2 ;;
        --ssh-port) ssh_port=$2 ;;
        *) echo "setup.sh: no such option: $1" >&2; exit 2 ;;
    esac
    shift 2
done

fail() { echo "error: $1" >&2; exit 1; }
good() { echo "= $1"; }
# todo WHAT: true if it has to be done now.
todo() { echo "+ $1"; [ "$mode" = apply ]; }
has() { command -v "$1" >/dev/null; }
installed() { dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }
install_packages() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq update
    # shellcheck disable=SC2086 # the words are packages
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $1 >/dev/null
}

# write FILE WHAT: writes its input there, unless it is there already. Fails if nothing was written.
write() {
    content=$(cat)
    if [ -f "$1" ] && [ "$content" = "$(cat "$1")" ]; then
        good "$2"
        return 1
    fi
    todo "$2: write $1" || return 1
    mkdir -p "${1%/*}"
    printf '%s\n' "$content" >"$1.new"
    mv "$1.new" "$1"
}

check_system() {
    [ "$(id -u)" = 0 ] || fail "root is needed: sudo sh setup.sh $mode"
    # shellcheck disable=SC1091
    . /etc/os-release
    case ${ID:-} in
        debian) oldest=12 ;;
        ubuntu) oldest=24 ;;
        *) fail "this is ${PRETTY_NAME:-an unknown system}, and neither Debian nor Ubuntu: prepare it by hand (docs/deploy.md)" ;;
    esac
    # Debian's next release has no number yet.
    major=${VERSION_ID:-99}
    [ "${major%%.*}" -ge "$oldest" ] || fail "$PRETTY_NAME is too old: its Python is older than 3.11. Debian 12, Ubuntu 24.04 or newer"
}

packages() {
    missing=
    for package in ca-certificates curl git make nftables python3 python3-venv unattended-upgrades; do
        installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || { good "packages"; return; }
    todo "packages: install$missing" || return 0
    install_packages "$missing"
}

# https://docs.docker.com/engine/install/debian/
docker_engine() {
    if has docker && docker compose version >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1; then
        good "Docker with Compose and Buildx"
        return
    fi
    for package in docker.io docker-compose podman-docker; do
        ! installed "$package" || fail "the package $package is in the way of Docker's own: apt-get remove $package, then again. Its data stay"
    done
    todo "Docker: install docker-ce, docker-ce-cli, containerd.io, docker-buildx-plugin, docker-compose-plugin from download.docker.com" || return 0
    mkdir -p /etc/apt/keyrings
    curl --fail --silent --show-error --location "https://download.docker.com/linux/$ID/gpg" --output /etc/apt/keyrings/docker.asc
    chmod a+r /etc/apt/keyrings/docker.asc
    cat >/etc/apt/sources.list.d/docker.sources <<END
Types: deb
URIs: https://download.docker.com/linux/$ID
Suites: $VERSION_CODENAME
Components: stable
Signed-By: /etc/apt/keyrings/docker.asc
END
    install_packages 'docker-ce docker-ce-cli containerd.io docker-buildx-plugin docker-compose-plugin'
}

account() {
    if id "$user" >/dev/null 2>&1; then
        good "user $user"
    elif todo "user $user: create, without a password"; then
        useradd --create-home --shell /bin/bash "$user"
    fi
    if id -nG "$user" 2>/dev/null | tr ' ' '\n' | grep -qx docker; then
        good "user $user: in the group docker"
    elif todo "user $user: add to the group docker, which is as good as root"; then
        getent group docker >/dev/null || groupadd --system docker
        usermod --append --groups docker "$user"
    fi
}

# Who may log in to set the server up may deploy.
keys() {
    from=$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)/.ssh/authorized_keys
    home=$(getent passwd "$user" | cut -d: -f6)
    to=${home:-/home/$user}/.ssh/authorized_keys
    [ "$from" != "$to" ] || return 0
    [ -s "$from" ] || { echo "! user $user: $from has no SSH keys to copy; add yours to $to"; return 0; }
    lacks=$(grep -vxFf "$to" "$from" 2>/dev/null) || { [ -e "$to" ] || lacks=$(cat "$from"); }
    [ -n "$lacks" ] || { good "user $user: SSH keys of $from"; return 0; }
    todo "user $user: accept the SSH keys of $from" || return 0
    install -d -o "$user" -g "$user" -m 0700 "${to%/*}"
    printf '%s\n' "$lacks" >>"$to"
    chown "$user:$user" "$to"
    chmod 0600 "$to"
}

clone() {
    if [ -d "$folder/.git" ]; then
        good "clone $folder"
    elif todo "clone $folder: create an empty one; the first command over SSH pushes your commit there"; then
        install -d -o "$user" -g "$user" "$folder"
        runuser --user "$user" -- git init --quiet --initial-branch main "$folder"
    fi
}

# Docker's published ports are forwarded, and pass by rules for this machine's own ports, such as those of ufw.
# https://docs.docker.com/engine/network/packet-filtering-firewalls/
firewall_rules() {
    open=$(echo "$ports" | sed 's/  */, /g')
    cat <<END
# Written by setup.sh. A table of its own: neither Docker's rules nor this one remove the other.
table inet mysite
delete table inet mysite
table inet mysite {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        ct state invalid drop
        iifname "lo" accept
        iifname "docker*" accept
        iifname "br-*" accept
        meta l4proto { icmp, ipv6-icmp } accept
        ip6 saddr fe80::/10 udp dport 546 accept
        tcp dport { $ssh_port, $open } accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "docker*" accept
        iifname "br-*" accept
        meta l4proto tcp ct status dnat ct original proto-dst { $open } accept
    }
}
END
}

firewall() {
    rules=/etc/mysite/firewall.nft
    what="firewall: from outside only ports $ssh_port (SSH) and $ports, also of what Docker publishes"
    changed=
    firewall_rules | write "$rules" "$what" && changed=1
    unit mysite-firewall.service <<END && changed=1
[Unit]
Description=Firewall of the mysite stack
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft --file $rules
ExecReload=/usr/sbin/nft --file $rules
ExecStop=/usr/sbin/nft delete table inet mysite

[Install]
WantedBy=sysinit.target
END
    [ "$mode" = plan ] || { [ -z "$changed" ] && nft list table inet mysite >/dev/null 2>&1; } || nft --file "$rules"
    start mysite-firewall.service
}

upgrades() {
    write /etc/apt/apt.conf.d/20auto-upgrades "unattended upgrades: Debian's or Ubuntu's security fixes, daily" <<END || :
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
END
}

has_systemd() { [ -d /run/systemd/system ]; }

unit() {
    write "/etc/systemd/system/$1" "unit $1" || return 1
    ! has_systemd || systemctl daemon-reload
}

# start UNIT: now, and at each start of the machine.
start() {
    has_systemd || { [ "$mode" = plan ] || echo "! unit $1: systemd does not run here, so it is not enabled"; return 0; }
    ! systemctl --quiet is-enabled "$1" 2>/dev/null || { good "unit $1: enabled"; return 0; }
    todo "unit $1: enable and start" || return 0
    systemctl --quiet enable --now "$1"
}

# It starts once there is a .env, which the timer waits for.
heal() {
    unit mysite-heal.service <<END || :
[Unit]
Description=Heals the mysite stack
After=docker.service
Wants=docker.service
ConditionPathExists=$folder/.env

[Service]
WorkingDirectory=$folder
ExecStart=$folder/stackctl heal --watch
User=$user
Restart=on-failure
RestartSec=10
# A restart that is in progress is finished first.
TimeoutStopSec=240
END
    unit mysite-heal.timer <<END || :
[Unit]
Description=Starts mysite-heal unless it runs

[Timer]
OnCalendar=minutely

[Install]
WantedBy=timers.target
END
    start mysite-heal.timer
}

case $mode in plan | apply) ;; *) fail "plan or apply, not $mode" ;; esac
check_system
packages
docker_engine
account
keys
clone
firewall
upgrades
heal
