#!/usr/bin/env bash
# A private PostgreSQL for the tests, from Debian's packages.
#
#   .ci/postgres.sh start FOLDER   installs what is missing, starts a cluster in FOLDER (empty or
#                                  new) on a free port of 127.0.0.1 and prints its URL, nothing else
#   .ci/postgres.sh stop FOLDER    stops it
#
# Anything that fails ends the script with a message and a status other than 0.
set -euo pipefail

fail() { echo "postgres.sh: $*" >&2; exit 1; }

# initdb refuses to run as root.
as_owner() {
    if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

find_programs() {
    local found
    found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
    if [ -n "$found" ] && [ -x "$found/initdb" ]; then
        echo "$found"
    elif command -v initdb >/dev/null; then
        dirname "$(command -v initdb)"
    fi
}

install_programs() {
    [ "$(id -u)" -eq 0 ] || fail "PostgreSQL is missing: install it with 'apt-get install postgresql'"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || fail "apt-get update failed"
    apt-get install -y -qq --no-install-recommends postgresql-common ||
        fail "apt-get could not install postgresql-common"
    # The cluster is ours: Debian's own, which would start with the package, is not needed.
    echo "create_main_cluster = false" >> /etc/postgresql-common/createcluster.conf
    apt-get install -y -qq --no-install-recommends postgresql ||
        fail "apt-get could not install postgresql"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start() {
    local folder=$1 programs port
    programs=$(find_programs || true)
    if [ -z "$programs" ]; then
        install_programs
        programs=$(find_programs || true)
        [ -n "$programs" ] || fail "initdb is not there after the installation"
    fi
    mkdir -p "$folder"
    if [ "$(id -u)" -eq 0 ]; then chown postgres "$folder"; fi
    cd "$folder"  # where every user may stand
    as_owner "$programs/initdb" --pgdata="$folder/data" --username=postgres --auth=trust \
        --encoding=UTF8 --locale=C.UTF-8 || fail "initdb failed"
    port=$(free_port)
    as_owner "$programs/pg_ctl" start --wait --timeout=60 --pgdata="$folder/data" \
        --log="$folder/server.log" \
        --options="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=''" \
        || { cat "$folder/server.log"; fail "the server did not start"; }
    url="postgresql://postgres@127.0.0.1:$port/postgres"
}

stop() {
    local folder=$1 programs
    [ -d "$folder/data" ] || return 0  # it never started
    programs=$(find_programs)
    cd "$folder"
    as_owner "$programs/pg_ctl" stop --wait --mode=immediate --pgdata="$folder/data"
}

[ $# -eq 2 ] || fail "usage: .ci/postgres.sh start|stop FOLDER"
case $1 in
    start) start "$2" >&2; echo "$url" ;;
    stop) stop "$2" >&2 ;;
    *) fail "usage: .ci/postgres.sh start|stop FOLDER" ;;
esac
