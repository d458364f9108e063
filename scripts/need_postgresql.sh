#!/bin/sh
# The tests measure a real PostgreSQL 15. Where it isn't installed, install it: as root, or with a sudo that doesn't ask.
set -eu
[ -x /usr/lib/postgresql/15/bin/initdb ] && exit 0
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "PostgreSQL 15 is missing, and this user may not install it: apt-get install postgresql-15, then again" >&2
        exit 2
    fi
    as_root="sudo -n"
fi
# Only the programs: Debian would otherwise start a cluster of its own.
$as_root mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" | $as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql-15
