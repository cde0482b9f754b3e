#!/usr/bin/env bash
# The deployment, tested for real: `make test-deploy`, as root.
#
# Builds the image and starts it in containers on the proof of concept's wiring (namespaces of its
# own; a client on VLAN 123, a node, macvlan devices): by podman alone, as Kubernetes starts it
# (without ambient capabilities), and as the pod of the kustomize output. Everything it makes is
# removed, also when it fails. It reaches no registry of images; what is missing it installs by
# apt-get, and kubernetes-validate by pip.
set -euo pipefail
cd "$(dirname "$0")/.."

. deploy/test-common.sh
# Runs a command and shows it as somebody would type it.
show() {
    local line="$*"
    line=${line//"${podman[*]-}"/podman}
    printf '$ %s\n' "${line//on_client/nsenter --net=CLIENT}"
    "$@"
}

((EUID == 0)) || fail 'needs root: it makes network namespaces and starts containers'

say 'tools'
need podman podman
need runc runc
need conmon conmon
need catatonit catatonit
need setcap libcap2-bin
need jq jq
need curl curl
need ping iputils-ping
need kubectl kubernetes-client
need readelf binutils
need unshare util-linux
need make make
need git git
need cc gcc
need python3 python3
[[ -e /usr/include/stdio.h ]] || packages+=(libc6-dev) # for the static program
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
[[ -x /usr/lib/cni/macvlan ]] || packages+=(containernetworking-plugins)
install_packages

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
venv=$CARGO_TARGET_DIR/deploy-venv
if ! "$venv/bin/python" -c 'import kubernetes_validate' 2>/dev/null; then
    { python3 -m venv "$venv" && "$venv/bin/pip" install -q 'kubernetes-validate==1.37.0'; } ||
        fail 'kubernetes-validate cannot be installed from PyPI (needs python3-venv)'
fi

work=$(mktemp -d /tmp/dataplane-deploy.XXXXXX)
chmod 0755 "$work"
# What Debian 12's podman needs where CAP_SYS_RESOURCE or a cgroup hierarchy it knows is missing;
# elsewhere it does no harm.
cat >"$work/containers.conf" <<'END'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
END
export CONTAINERS_CONF=$work/containers.conf
podman=(podman --root "$work/storage" --runroot "$work/run" --storage-driver vfs)
runc=(runc --root "$work/runc")

clean_up() {
    local status=$?
    if ((status)); then
        local name
        for name in $("${podman[@]}" ps --all --format '{{.Names}}' | grep '^dataplane'); do
            "${podman[@]}" logs --tail 20 "$name" 2>&1 | sed "s/^/$name said: /" || true
        done
    fi
    "${runc[@]}" delete --force dataplane-test >/dev/null 2>&1 || true
    "${podman[@]}" pod rm --all --force --time 1 >/dev/null 2>&1 || true
    "${podman[@]}" rm --all --force --time 1 >/dev/null 2>&1 || true
    "${podman[@]}" volume rm --all --force >/dev/null 2>&1 || true
    stop_wiring
    umount --quiet "$work"/storage/vfs "$work"/storage 2>/dev/null || true
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say 'manifests'
export MACVLAN_MASTER=eth0 VLAN_ID=123 IP_ADDRESS=192.168.123.150/24 IMAGE=localhost/dataplane:latest
for overlay in openshift kubernetes several-vlans; do
    make --silent kustomize OVERLAY=$overlay >"$work/$overlay.yaml"
done
(cd "$work" && "$venv/bin/python" "$OLDPWD/deploy/validate.py" openshift.yaml kubernetes.yaml several-vlans.yaml)
for wrong in VLAN_ID=4095 IP_ADDRESS=192.168.123.150 'MACVLAN_MASTER=eth0"' OVERLAY=nowhere; do
    if make --silent kustomize "$wrong" >/dev/null 2>"$work/stderr"; then fail "$wrong was taken"; fi
done
make --silent kustomize VLAN_ID=124 >"$work/other.yaml"
name() { sed -n 's/^  name: \(startup-conf-.*\)/\1/p' "$1"; }
[[ $(name "$work/other.yaml") != "$(name "$work/openshift.yaml")" ]] ||
    fail 'another VLAN_ID would not start a new pod'

say 'image'
make --silent image PODMAN="${podman[*]}" >"$work/build.log" 2>&1 ||
    { cat "$work/build.log"; fail 'make image'; }
show "${podman[@]}" images --format '{{.Repository}}:{{.Tag}} {{.Size}}' --filter dangling=false
size=$("${podman[@]}" image inspect --format '{{.Size}}' "$IMAGE")
((size <= 10000000)) || fail "the image has $size octets, more than 10 MB"
mounted=$("${podman[@]}" image mount "$IMAGE")
(cd "$mounted" && find . -type f -printf '%P\n' | sort) >"$work/files"
cat "$work/files"
cmp "$work/files" - <<<$'dataplane\nlicenses/LICENSE-APACHE\nlicenses/LICENSE-MIT' ||
    fail 'the image holds other files'
capability=$(PATH=$PATH:/usr/sbin getcap "$mounted/dataplane")
[[ $capability == *' cap_net_raw=ep' ]] || fail "the file's capability is: $capability"
[[ -z $(find "$mounted" -perm /6000) ]] || fail 'the image holds a set-user-ID file'
for label in title description source licenses version revision created; do
    value=$("${podman[@]}" image inspect "$IMAGE" | jq -r ".[0].Labels[\"org.opencontainers.image.$label\"]")
    [[ -n $value && $value != null && $value != unknown ]] || fail "the label $label is missing"
done
[[ $("${podman[@]}" image inspect --format '{{.User}}' "$IMAGE") == 10000:10000 ]] || fail 'the user'
SOURCE_DATE_EPOCH=0 deploy/rootfs.sh "$mounted/dataplane" "$work/first.tar"
SOURCE_DATE_EPOCH=0 deploy/rootfs.sh "$mounted/dataplane" "$work/second.tar"
cmp "$work/first.tar" "$work/second.tar" || fail 'two archives of one program differ'

say 'wiring'
start_wiring
echo "client $client, node $node, pod $pod"

# What the tests of every way to start it have in common.
address=192.168.123.150
first_ping() { # the first one must be answered: there is nothing to warm up
    show on_client ping -c 1 -W 1 $address
}
page() { on_client curl --silent --show-error --fail --max-time 5 "http://$address/${1-index.html}"; }
wait_for() { # SECONDS COMMAND...
    local left=$(($1 * 20))
    shift
    until "$@" >/dev/null 2>&1; do
        ((left--)) || fail "this did not come to pass: $*"
        sleep 0.05
    done
}
no_rights() { # PID: user 10000, no capability in any set that counts, nothing to gain
    show grep -E '^(Uid|Cap|NoNewPrivs|Seccomp:)' "/proc/$1/status"
    local set
    for set in CapInh CapPrm CapEff CapAmb; do
        grep -q "^$set:[[:space:]]0000000000000000\$" "/proc/$1/status" || fail "$set is not empty"
    done
    grep -q '^NoNewPrivs:[[:space:]]1$' "/proc/$1/status" || fail 'no_new_privs is not set'
    grep -q '^Uid:[[:space:]]10000[[:space:]]10000' "/proc/$1/status" || fail 'the user is not 10000'
}

say 'podman, as user 10000 with CAP_NET_RAW alone'
# Files as a ConfigMap is mounted: each a link into ..data, which is replaced as a whole.
config_map() { # DIRECTORY NAME TEXT
    local version
    version=$(mktemp -d "$1/..version.XXXX")
    chmod 0755 "$1" "$version"
    printf '%s\n' "$3" >"$version/$2"
    ln -sfn "$(basename "$version")" "$1/..data_tmp"
    mv -T "$1/..data_tmp" "$1/..data"
    [[ -L $1/$2 ]] || ln -s "..data/$2" "$1/$2"
}
startup_conf() { # MANIFESTS
    sed -n '/^  startup.conf: |/,/^[^ ]/s/^    //p' "$1"
}
mkdir "$work/www" "$work/conf" "$work/several"
config_map "$work/www" index.html Welcome
config_map "$work/conf" startup.conf "$(startup_conf "$work/openshift.yaml")"
cat "$work/conf/startup.conf"

start=$EPOCHREALTIME
show "${podman[@]}" run --detach --name dataplane --user 10000 \
    --cap-drop=ALL --cap-add=NET_RAW --read-only --security-opt no-new-privileges \
    --network "ns:$pod" --volume "$work/conf:/conf:ro" --volume "$work/www:/www:ro" \
    --tmpfs /run/dataplane "$IMAGE" \
    serve --startup-config /conf/startup.conf --ready-file /run/dataplane/ready
wait_for 10 "${podman[@]}" exec dataplane /dataplane ready /run/dataplane/ready
echo "ready $(((${EPOCHREALTIME/[.,]/} - ${start/[.,]/}) / 1000)) ms after podman was called"
show "${podman[@]}" logs dataplane
first_ping
[[ $(page) == Welcome ]] || fail 'the page is another'
pid=$("${podman[@]}" inspect --format '{{.State.Pid}}' dataplane)
no_rights "$pid"
for shell in sh /bin/sh bash /bin/busybox; do
    if "${podman[@]}" exec dataplane "$shell" -c true >/dev/null 2>&1; then fail "there is a $shell"; fi
done

echo '-- a ConfigMap is updated'
config_map "$work/www" index.html 'Welcome back'
page_says() { [[ $(page) == "$1" ]]; }
wait_for 5 page_says 'Welcome back'
[[ $(on_client curl --silent --output /dev/null --write-out '%{http_code}' --path-as-is \
    "http://$address/../conf/startup.conf") != 200 ]] || fail 'a file outside the www-root was served'

echo '-- kill -TERM'
kill -TERM "$pid"
[[ $(timeout 10 "${podman[@]}" wait dataplane) == 0 ]] || fail 'it did not end with 0'
if on_client ping -c 1 -W 1 $address >/dev/null; then fail 'somebody still answers'; fi

echo '-- restart'
"${podman[@]}" start dataplane >/dev/null
wait_for 10 "${podman[@]}" exec dataplane /dataplane ready /run/dataplane/ready
first_ping
[[ $(page) == 'Welcome back' ]] || fail 'the page is another after a restart'

echo '-- kill -KILL: the ready file that is left behind does not count'
kill -KILL "$("${podman[@]}" inspect --format '{{.State.Pid}}' dataplane)"
timeout 10 "${podman[@]}" wait dataplane >/dev/null
"${podman[@]}" start dataplane >/dev/null
wait_for 10 "${podman[@]}" exec dataplane /dataplane ready /run/dataplane/ready
first_ping
"${podman[@]}" stop --time 8 dataplane >/dev/null
"${podman[@]}" rm dataplane >/dev/null

say 'several VLANs in one pod, by a configuration file of its own'
config_map "$work/several" startup.conf "$(startup_conf "$work/several-vlans.yaml")"
"${podman[@]}" run --detach --name dataplane-several --cap-drop=ALL --cap-add=NET_RAW --read-only \
    --security-opt no-new-privileges --network "ns:$pod" --volume "$work/several:/conf:ro" \
    --volume "$work/www:/www:ro" --tmpfs /run/dataplane "$IMAGE" \
    serve --startup-config /conf/startup.conf --ready-file /run/dataplane/ready >/dev/null
wait_for 10 "${podman[@]}" exec dataplane-several /dataplane ready /run/dataplane/ready
"${podman[@]}" exec dataplane-several /dataplane ready /run/dataplane/ready
# Each VLAN has a client of its own, which cannot reach the other's network.
for vlan in 123 124; do
    other=$((247 - vlan)) at=$client
    ((vlan == 123)) || at=$client124
    echo "-- from the client on VLAN $vlan"
    nsenter --net="$at" ping -c 1 -W 1 "192.168.$vlan.150"
    [[ $(nsenter --net="$at" curl --silent --show-error --fail --max-time 5 \
        "http://192.168.$vlan.150/index.html") == 'Welcome back' ]] || fail 'the page is another'
    if nsenter --net="$at" ping -c 1 -W 1 "192.168.$other.150" >/dev/null 2>&1; then
        fail "VLAN $vlan reaches VLAN $other"
    fi
done
"${podman[@]}" exec dataplane-several /dataplane ctl show interface address
"${podman[@]}" stop --time 8 dataplane-several >/dev/null
"${podman[@]}" rm dataplane-several >/dev/null

say 'as Kubernetes starts it: no ambient capability, so the file must carry it'
# podman gives a user who is not root ambient capabilities, Kubernetes does not. runc is asked
# directly, with the process a runtime describes: containerd and CRI-O leave the container's
# capabilities in the permitted set until the program is executed, Docker empties that as well.
bundle=$work/bundle
mkdir -p "$bundle/rootfs/conf" "$bundle/rootfs/www"
tar --extract --xattrs --xattrs-include=security.capability --preserve-permissions \
    --file "$CARGO_TARGET_DIR/image/rootfs.tar" --directory "$bundle/rootfs"
(cd "$bundle" && runc spec && mv config.json default.json)
describe() { # ESCALATION allowed|forbidden, PERMITTED as JSON
    jq --arg net "$pod" --arg conf "$work/conf" --arg www "$work/www" \
        --arg escalation "$1" --argjson permitted "$2" '
        .process.terminal = false
        | .process.user = {uid: 10000, gid: 10000}
        | .process.args = ["/dataplane", "serve", "--startup-config", "/conf/startup.conf"]
        | .process.noNewPrivileges = ($escalation == "forbidden")
        | .process.capabilities = {bounding: ["CAP_NET_RAW"], effective: $permitted,
            permitted: $permitted, inheritable: [], ambient: []}
        | del(.process.rlimits)
        | .linux.namespaces |= map(if .type == "network" then .path = $net else . end)
        | .mounts += [["/conf", $conf], ["/www", $www] |
            {destination: .[0], type: "bind", source: .[1], options: ["rbind", "ro"]}]
        ' "$bundle/default.json" >"$bundle/config.json"
}
stopped() { [[ $("${runc[@]}" state dataplane-test | jq -r .status) == stopped ]]; }
serves() {
    "${runc[@]}" run --detach --bundle "$bundle" dataplane-test </dev/null >"$work/stdout" 2>"$work/stderr"
    wait_for 10 grep --quiet '^ready: ' "$work/stdout"
    cat "$work/stdout"
    first_ping
    [[ $(page) == 'Welcome back' ]] || fail 'the page is another'
    no_rights "$("${runc[@]}" state dataplane-test | jq .pid)"
    "${runc[@]}" kill dataplane-test TERM
    wait_for 10 stopped
    "${runc[@]}" delete dataplane-test
}
echo '-- allowPrivilegeEscalation: true; the file gives the capability, whatever the runtime leaves'
describe allowed '[]'
serves
echo '-- allowPrivilegeEscalation: false, as containerd and CRI-O do it: the program keeps what it had'
describe forbidden '["CAP_NET_RAW"]'
serves
echo '-- allowPrivilegeEscalation: false and nothing left by the runtime: it says what is missing'
describe forbidden '[]'
status=0
timeout 20 "${runc[@]}" run --bundle "$bundle" dataplane-test </dev/null >"$work/stdout" 2>"$work/stderr" || status=$?
cat "$work/stderr"
((status == 2)) || fail "it ended with $status instead of 2"
grep --quiet CAP_NET_RAW "$work/stderr" || fail 'it does not name the capability'

say 'the pod of the kustomize output'
"$venv/bin/python" deploy/pod.py <"$work/openshift.yaml" >"$work/pod.yaml"
show "${podman[@]}" kube play --network=none --start=false "$work/pod.yaml"
# What Multus does: the macvlan plugin, by the NetworkAttachmentDefinition, in the node's namespace.
infra=$("${podman[@]}" pod inspect --format '{{.InfraContainerID}}' dataplane)
"${podman[@]}" start "$infra" >/dev/null
sandbox=/proc/$("${podman[@]}" inspect --format '{{.State.Pid}}' "$infra")/ns/net
"$venv/bin/python" -c '
import sys, yaml
for thing in yaml.safe_load_all(sys.stdin):
    if thing and thing["kind"] == "NetworkAttachmentDefinition":
        print(thing["spec"]["config"])' <"$work/openshift.yaml" >"$work/network.json"
CNI_COMMAND=ADD CNI_CONTAINERID=$infra CNI_NETNS=$sandbox CNI_IFNAME=macvlan0 CNI_PATH=/usr/lib/cni \
    nsenter --net="$node" /usr/lib/cni/macvlan <"$work/network.json" >"$work/cni.json"
"${podman[@]}" pod start dataplane >/dev/null
readarray -t probe < <("$venv/bin/python" -c '
import sys, yaml
*_, pod = yaml.safe_load_all(sys.stdin)
print(*pod["spec"]["containers"][0]["readinessProbe"]["exec"]["command"], sep="\n")' <"$work/pod.yaml")
wait_for 10 "${podman[@]}" exec dataplane-dataplane "${probe[@]}"
show "${podman[@]}" exec dataplane-dataplane "${probe[@]}"
first_ping
text=$(page)
printf '$ curl http://%s/index.html\n%s\n' $address "$text"
[[ $text == Welcome ]] || fail 'the page is another'
pid=$("${podman[@]}" inspect --format '{{.State.Pid}}' dataplane-dataplane)
no_rights "$pid"
show nsenter --net="$sandbox" ip -d link show dev macvlan0 | tee "$work/link"
grep --quiet 'promiscuity 0' "$work/link" || fail 'the interface is promiscuous'
"${podman[@]}" pod stop --time 8 dataplane >/dev/null
[[ $("${podman[@]}" inspect --format '{{.State.ExitCode}}' dataplane-dataplane) == 0 ]] ||
    fail 'the pod did not end with 0'

say 'the deployment works'
