#!/usr/bin/env bash
# The manifests of an overlay, with the variables filled in: `deploy/render.sh OVERLAY`.
set -euo pipefail

overlay=${1:?usage: deploy/render.sh OVERLAY}
here=$(cd "$(dirname "$0")" && pwd)

fail() { echo "$0: $*" >&2; exit 2; }
octet='(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])'
[[ ${MACVLAN_MASTER-} =~ ^[A-Za-z0-9_.:-]{1,15}$ ]] ||
    fail "MACVLAN_MASTER=${MACVLAN_MASTER-}: expected the name of the worker node's interface, such as eth0"
[[ ${VLAN_ID-} =~ ^[1-9][0-9]{0,3}$ ]] && ((VLAN_ID <= 4094)) ||
    fail "VLAN_ID=${VLAN_ID-}: expected a VLAN id from 1 to 4094"
[[ ${IP_ADDRESS-} =~ ^($octet\.){3}$octet/([1-9]|[12][0-9]|3[0-2])$ ]] ||
    fail "IP_ADDRESS=${IP_ADDRESS-}: expected an address and its prefix length, such as 192.168.123.150/24"
[[ ${IMAGE-} =~ ^[A-Za-z0-9_.:/@-]+$ ]] ||
    fail "IMAGE=${IMAGE-}: expected an image the cluster can pull, such as registry.example/dataplane:0.1.0"
[[ -f $here/overlays/$overlay/kustomization.yaml ]] ||
    fail "OVERLAY=$overlay: expected one of $(cd "$here/overlays" && echo *)"

kustomize=(kubectl kustomize)
command -v kubectl >/dev/null || kustomize=(kustomize build)
command -v "${kustomize[0]}" >/dev/null || { command -v oc >/dev/null && kustomize=(oc kustomize); } ||
    { echo "$0: needs kubectl, kustomize or oc" >&2; exit 1; }
# Filled in before kustomize runs, so that the names it makes from contents change with them.
# Nothing the checks above let through has a meaning to sed.
filled=$(mktemp -d)
trap 'rm -rf "$filled"' EXIT
cp -r "$here/base" "$here/overlays" "$filled"
find "$filled" -type f -exec sed -i \
    -e "s|\${MACVLAN_MASTER}|$MACVLAN_MASTER|g" -e "s|\${VLAN_ID}|$VLAN_ID|g" \
    -e "s|\${IP_ADDRESS}|$IP_ADDRESS|g" -e "s|\${IMAGE}|$IMAGE|g" {} +
# Newer versions warn of the old names, which are there for the older ones.
"${kustomize[@]}" "$filled/overlays/$overlay" 2> >(grep -v 'is deprecated' >&2)
