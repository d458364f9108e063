#!/bin/sh
# The tests ask a real Prometheus. Where none is there, Debian's package is unpacked into .tools: no user, no service, no root.
set -eu
cd "$(dirname "$0")/.."
command -v prometheus >/dev/null && command -v promtool >/dev/null && exit 0
[ -x .tools/prometheus/usr/bin/promtool ] && exit 0
mkdir -p .tools/prometheus.new
cd .tools/prometheus.new
if ! apt-get download -qq prometheus 2>/dev/null; then
    # A fresh machine knows no packages yet.
    apt-get update -qq 2>/dev/null || sudo -n apt-get update -qq || true
    apt-get download -qq prometheus 2>/dev/null || {
        echo "Prometheus is missing, and its package can't be fetched: apt-get install prometheus, then again" >&2
        exit 2
    }
fi
dpkg -x prometheus_*.deb .
rm prometheus_*.deb
cd ../..
rm -rf .tools/prometheus
mv .tools/prometheus.new .tools/prometheus
