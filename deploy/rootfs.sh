#!/usr/bin/env bash
# The image's root file system as an archive: `deploy/rootfs.sh PROGRAM OUT.tar`.
#
# Beside the program it holds the licences only. The program carries the file capability
# cap_net_raw+ep, which archives keep in a PAX header. Setting it needs root; an ordinary user gets
# the same archive by being root of a user namespace. The same input gives the same octets.
set -euo pipefail

(($# == 2)) || { echo "usage: $0 PROGRAM OUT.tar" >&2; exit 2; }
program=$(realpath "$1") out=$(realpath -m "$2")
source=$(cd "$(dirname "$0")/.." && pwd)

for tool in setcap:libcap2-bin tar:tar; do
    PATH=$PATH:/usr/sbin command -v "${tool%%:*}" >/dev/null ||
        { echo "$0: ${tool%%:*} is missing (Debian package ${tool##*:})" >&2; exit 1; }
done
# A dynamic program would start nowhere in an image without libraries.
if readelf -l "$program" | grep -q INTERP; then
    echo "$0: $program is not static; build it with -C target-feature=+crt-static" >&2
    exit 1
fi
if ((EUID != 0)) && [[ -z ${IN_USER_NAMESPACE-} ]]; then
    IN_USER_NAMESPACE=1 exec unshare --map-root-user "$0" "$program" "$out"
fi

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
install -D -m 0755 "$program" "$tree/dataplane"
install -D -m 0644 -t "$tree/licenses" "$source"/LICENSE-*
chmod 0755 "$tree" "$tree/licenses"
PATH=$PATH:/usr/sbin setcap cap_net_raw+ep "$tree/dataplane"

mkdir -p "$(dirname "$out")"
tar --create --file "$out" --directory "$tree" \
    --format=pax --pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' \
    --xattrs --xattrs-include=security.capability \
    --owner=0 --group=0 --numeric-owner --sort=name --mtime="@${SOURCE_DATE_EPOCH:-0}" \
    dataplane licenses
