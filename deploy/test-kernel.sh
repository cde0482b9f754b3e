#!/usr/bin/env bash
# The rings, the wiring and the server on the kernel this distribution ships: `make test-kernel`.
#
# The machine that runs the tests may have a newer kernel than those the program meets, and AF_PACKET
# has changed over the years. Boots the packaged one in an emulator, with the tests as `cargo test`
# builds them and what they need beside them. Nothing of this machine changes but the Debian packages
# that are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

. deploy/test-common.sh

# Seconds the emulated machine may take.
PATIENCE=900
# In the order they are loaded in.
modules=(veth macvlan tun sch_ingress cls_bpf)
# A crate's folder, the test's source there, and what of it is run.
tests=(
    'testbed tests/wiring.rs'
    'af-packet tests/veth.rs'
    'runtime tests/end_to_end/main.rs http:: links:: vlans:: --skip gigabyte'
)

case $(uname -m) in
x86_64) debian=amd64 emulator=qemu-system-x86_64 package=qemu-system-x86 board=(-M q35) console=ttyS0 ;;
aarch64) debian=arm64 emulator=qemu-system-aarch64 package=qemu-system-arm board=(-M virt) console=ttyAMA0 ;;
*) fail "there is no test for $(uname -m)" ;;
esac

say 'tools'
need "$emulator" "$package"
need cpio cpio
need busybox busybox-static
need ip iproute2
need strip binutils
need xz xz-utils
install_packages
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR

work=$(mktemp -d /tmp/dataplane-kernel.XXXXXX)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,dev,etc,modules,proc,run,sys,tmp}

# PROGRAM PATH: as PATH in the emulated machine, without debug information, with its libraries.
add() {
    local library
    install -D "$1" "$root$2"
    strip --strip-debug "$root$2"
    for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || true); do
        [[ -e $root$library ]] || install -D "$library" "$root$library"
    done
}

say 'the kernel'
image=
download() {
    image=$(apt-cache depends "linux-image-$debian" 2>/dev/null | sed -n 's/^ *Depends: //p' | head -1) || true
    [[ -n $image ]] && (cd "$work" && apt-get -o APT::Sandbox::User=root -qq download "$image")
}
# With lists that are missing or old: again with new ones.
download || { apt-get -o DPkg::Lock::Timeout=400 update -qq && download; } ||
    fail "linux-image-$debian cannot be had from apt-get"
wanted=('./boot/vmlinuz-*')
for module in "${modules[@]}"; do wanted+=("*/$module.ko" "*/$module.ko.xz"); done
# Each module is there under one of the two names, so tar misses some.
dpkg-deb --fsys-tarfile "$work/$image"_*.deb | tar -x -C "$work" --wildcards "${wanted[@]}" 2>/dev/null || true
find "$work" -name '*.ko.xz' -exec xz -d {} +
for module in "${modules[@]}"; do
    found=$(find "$work" -path "$root" -prune -o -name "$module.ko" -print -quit)
    [[ -n $found ]] || fail "$image has no module $module"
    cp "$found" "$root/modules"
done
echo "$image"

say 'the tests'
built=$(cargo test --workspace --locked --no-run 2>&1) || fail "$built"
add "$CARGO_TARGET_DIR/debug/dataplane" "$CARGO_TARGET_DIR/debug/dataplane"
{
    for test in "${tests[@]}"; do
        read -r crate source filter <<<"$test"
        # Sources of the same name in several crates are not told apart.
        binary=$(sed -n "s|^ *Executable $source (\(.*\))|\1|p" <<<"$built")
        [[ $binary == /* ]] || binary=$PWD/$binary # cargo tells it from here
        [[ -x $binary ]] || fail "cargo built no $source"
        add "$binary" "$binary"
        echo "echo '== $crate/$source'; cd '$PWD/$crate'; '$binary' --test-threads 2 $filter || status=1"
    done
} >"$root/tests"
# What tests read beside themselves.
git ls-files -z -- runtime testbed af-packet README.md docs deploy examples | tar -c --null -T - |
    (mkdir -p "$root$PWD" && tar -x -C "$root$PWD")
add "$(command -v busybox)" /bin/busybox
# The distribution's own where busybox's are not like them.
for program in sh sleep ip; do
    path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$program") || continue
    add "$path" "/bin/$program"
done
printf 'root:x:0:0::/:/bin/sh\n' >"$root/etc/passwd"
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin HOME=/tmp RUST_BACKTRACE=0
/bin/busybox --install -s /bin 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t securityfs securityfs /sys/kernel/security
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs tmpfs /run
ip link set lo up
status=0
for module in MODULES; do insmod "/modules/$module.ko" || status=1; done
uname -srm
# A test that may not make namespaces is not one that passed.
unshare --net true || status=1
. /tests
echo "ended with $status"
poweroff -f
INIT
sed -i "s/MODULES/${modules[*]}/" "$root/init"
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initrd"
du -h "$work/initrd" | cut -f1

say 'in the emulator'
# Not by /dev/kvm, which may be there and hang where this machine is itself a virtual one.
timeout "$PATIENCE" "$emulator" "${board[@]}" -accel tcg -cpu max -smp 2 -m 3072 -nodefaults -nographic -serial stdio \
    -net none -no-reboot -kernel "$work"/boot/vmlinuz-* -initrd "$work/initrd" \
    -append "console=$console rdinit=/init panic=-1 quiet" </dev/null |
    tee "$work/said" | grep -a --line-buffered -v -e '\.\.\. ok' -e $'\ec' || true
grep -a -q '^ended with 0' "$work/said" || fail "on $image"
