# What the tests of the deployment and of the package have in common; they source it.

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

packages=()
need() { PATH=$PATH:/usr/sbin command -v "$1" >/dev/null || packages+=("$2"); }
install_packages() {
    ((${#packages[@]})) || return 0
    echo "installing ${packages[*]}"
    apt-get -o DPkg::Lock::Timeout=400 update -qq
    apt-get -o DPkg::Lock::Timeout=400 install -qq -y --no-install-recommends "${packages[@]}" ||
        fail "these Debian packages are missing and cannot be installed: ${packages[*]}"
}

# The proof of concept's wiring, in namespaces of its own: $client, $client124, $node and $pod are
# their paths.
start_wiring() {
    local key path
    cargo build --quiet --locked -p testbed --example wire
    coproc WIRE { exec "$CARGO_TARGET_DIR/debug/examples/wire"; }
    exec {wire_in}>&"${WIRE[1]}" {wire_out}<&"${WIRE[0]}"
    exec {WIRE[1]}>&-
    while IFS='=' read -r -t 20 -u "$wire_out" key path; do
        declare -g "$key=$path"
        [[ $key == pod ]] && break
    done
    [[ -n ${client-} && -n ${client124-} && -n ${node-} && -n ${pod-} ]] || fail 'the wiring was not built'
}
stop_wiring() {
    if [[ -n ${WIRE_PID-} ]]; then
        exec {wire_in}>&- # its standard input ends, and it with it
        wait "$WIRE_PID" 2>/dev/null || true
    fi
}
on_client() { nsenter --net="$client" "$@"; }
