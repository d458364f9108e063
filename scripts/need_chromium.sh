#!/bin/sh
# The tests open the review in a real browser, Debian's Chromium. Where it isn't installed, install it: as root, or with a sudo
# that doesn't ask.
set -eu
[ -x /usr/bin/chromium ] && exit 0
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "Chromium is missing, and this user may not install it: apt-get install chromium, then again" >&2
        exit 2
    fi
    as_root="sudo -n"
fi
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium
