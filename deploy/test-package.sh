#!/usr/bin/env bash
# The Debian package, tested for real: `make test-package`, as root.
#
# Installs it by dpkg in a copy of this machine (an overlay in memory), starts it by a systemd of its
# own there, in the pod's namespace of the proof of concept's wiring, pings it and fetches a page
# from the VLAN client, and removes it again. The machine itself stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

. deploy/test-common.sh

((EUID == 0)) || fail 'needs root: it makes namespaces and installs a package in one of them'

say 'tools'
need dpkg-deb dpkg
need systemd-analyze systemd
need deb-systemd-helper init-system-helpers
need setcap libcap2-bin
need readelf binutils
need curl curl
need ping iputils-ping
need nsenter util-linux
need make make
need git git
need pgrep procps
need cc gcc
[[ -e /usr/include/stdio.h ]] || packages+=(libc6-dev) # for the static program
install_packages
cargo deb --version >/dev/null 2>&1 || cargo install --quiet --locked --debug cargo-deb --version 3.8.0 ||
    fail 'cargo-deb cannot be installed'
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

say 'the package'
make --silent deb >/dev/null
package=$(find "$CARGO_TARGET_DIR" -path '*/debian/dataplane_*.deb' -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)
[[ -f $package ]] || fail 'make deb made no package'
dpkg-deb --info "$package" | sed -n '/^ Package/,$p'
contents=$(dpkg-deb --contents "$package")
awk '!/\/$/ {print $1, $2, $6}' <<<"$contents"
for path in usr/bin/dataplane etc/dataplane/startup.conf lib/systemd/system/dataplane.service \
    usr/share/man/man1/dataplane.1.gz usr/share/man/man1/dataplane-serve.1.gz \
    usr/share/bash-completion/completions/dataplane usr/share/zsh/vendor-completions/_dataplane \
    usr/share/fish/vendor_completions.d/dataplane.fish usr/share/doc/dataplane/copyright; do
    grep -q " \./\(usr/\)\?$path\$" <<<"$contents" || fail "the package lacks $path"
done

work=$(mktemp -d /tmp/dataplane-package.XXXXXX)
# A cgroup of our own in each hierarchy systemd wants, so that nothing of it stays behind.
cgroups=()
if [[ -f /sys/fs/cgroup/cgroup.procs ]]; then
    cgroups=("/sys/fs/cgroup/dataplane-package.$$")
else
    for hierarchy in systemd unified; do
        [[ -d /sys/fs/cgroup/$hierarchy ]] && cgroups+=("/sys/fs/cgroup/$hierarchy/dataplane-package.$$")
    done
fi
clean_up() {
    local status=$? group
    if ((status)) && [[ -n ${init-} ]]; then
        inside journalctl --no-pager --unit dataplane | tail -20 || true
    fi
    [[ -z ${launcher-} ]] || { kill -KILL "$launcher" 2>/dev/null; wait "$launcher" 2>/dev/null; } || true
    stop_wiring
    for group in "${cgroups[@]}"; do
        for _ in 1 2 3 4 5; do
            find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
            [[ -d $group ]] || break
            sleep 0.2 # its last process is on its way out
        done
    done
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say 'wiring'
start_wiring

say 'systemd'
# Runs as the first process of its namespaces and becomes systemd. Of this machine's units none is
# started; its kernel settings are out of reach.
cat >"$work/boot" <<'END'
set -euo pipefail
work=$1 package=$2
mount --make-rprivate /
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/scratch" "$work/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/scratch" "$work/root"
cd "$work/root"
mkdir -p proc sys dev run tmp
mount -t proc proc proc
mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
if [[ -f /sys/fs/cgroup/cgroup.procs ]]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mount -t tmpfs tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
fi
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev
for device in null zero full random urandom tty; do
    mknod --mode=0666 dev/$device c $((16#$(stat -c %t /dev/$device))) $((16#$(stat -c %T /dev/$device)))
done
mkdir dev/shm dev/pts dev/mqueue dev/hugepages
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s null dev/console
mount -t tmpfs tmpfs etc/systemd/system
for wants in {lib,usr/lib}/systemd/system/{sysinit,local-fs,sockets,multi-user,timers,basic}.target.wants; do
    [[ ! -d $wants ]] || mount -t tmpfs tmpfs "$wants"
done
cat >etc/systemd/system/test.target <<UNIT
[Unit]
Wants=systemd-journald.service dbus.socket
UNIT
cp "$package" tmp/dataplane.deb
mkdir -p var/www/html
echo Welcome >var/www/html/index.html
chroot . dpkg --install /tmp/dataplane.deb >&2
# Not chroot alone: the unit's own mount namespace is made from the root of the mounts.
old=$(mktemp -d -p .)
pivot_root . "$old"
exec chroot . bash -c 'umount --lazy "/$0" && rmdir "/$0" && exec "$@"' "$old" env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other \
    /lib/systemd/systemd --unit=test.target --log-target=journal --show-status=false
END
(
    for group in "${cgroups[@]}"; do
        mkdir "$group"
        echo $BASHPID >"$group/cgroup.procs"
    done
    exec nsenter --net="$pod" unshare --pid --fork --kill-child --mount --uts --ipc --cgroup \
        bash "$work/boot" "$work" "$package"
) </dev/null >"$work/boot.log" 2>&1 &
launcher=$!
wait_for() { # SECONDS COMMAND...
    local left=$(($1 * 20))
    shift
    until "$@" >/dev/null 2>&1; do
        kill -0 "$launcher" 2>/dev/null || { cat "$work/boot.log"; fail 'systemd ended'; }
        ((left--)) || fail "this did not come to pass: $*"
        sleep 0.05
    done
}
find_init() { # unshare's child, once it is systemd
    init=$(pgrep --parent "$launcher") && [[ $(<"/proc/$init/comm") == systemd ]]
}
wait_for 60 find_init
inside() {
    nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root --wd \
        env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_PAGER= "$@"
}
wait_for 20 inside systemctl is-active test.target
inside systemctl --version | head -1

say 'the unit'
inside systemd-analyze verify --man=no dataplane.service || fail 'the unit is not well formed'
inside systemd-analyze security --offline=true --threshold=20 --no-pager \
    /lib/systemd/system/dataplane.service >"$work/security" || fail 'its exposure is above 2.0'
tail -1 "$work/security"
[[ $(inside systemctl is-enabled dataplane) == disabled ]] || fail 'it is enabled before it is configured'

say 'started with the proof of concept'"'"'s configuration'
inside sed -i 's/eth0/macvlan0/' /etc/dataplane/startup.conf
inside systemctl start dataplane
wait_for 10 inside dataplane ready /run/dataplane/ready
inside systemctl show --property ActiveState,SubState,User,NoNewPrivileges dataplane
inside systemctl status dataplane --no-pager --lines=0 --full
on_client ping -c 1 -W 1 192.168.123.150
page=$(on_client curl --silent --show-error --fail --max-time 5 http://192.168.123.150/index.html)
[[ $page == Welcome ]] || fail "the page is: $page"
main=$(inside systemctl show --property MainPID --value dataplane)
inside grep -E '^(Uid|Cap|NoNewPrivs|Seccomp:)' "/proc/$main/status" | tee "$work/status"
for set in CapInh CapPrm CapEff CapAmb; do
    grep -q "^$set:[[:space:]]0000000000000000\$" "$work/status" || fail "$set is not empty"
done
grep -q '^Uid:[[:space:]]0' "$work/status" && fail 'it runs as root'
inside dataplane ctl show interface address

say 'killed, and started again by systemd'
inside kill -KILL "$main"
started_again() { local now; now=$(inside systemctl show --property MainPID --value dataplane) && ((now && now != main)); }
wait_for 10 started_again
wait_for 10 inside dataplane ready /run/dataplane/ready
on_client ping -c 1 -W 1 192.168.123.150 >/dev/null || fail 'it does not answer after a restart'

say 'stopped'
inside systemctl stop dataplane
inside systemctl show --property ActiveState,Result,ExecMainStatus dataplane | tee "$work/stopped"
grep -q '^Result=success$' "$work/stopped" || fail 'it did not end with 0'

say 'a wrong configuration is not tried again and again'
inside sed -i 's/ 123$/ 5000/' /etc/dataplane/startup.conf
inside systemctl start dataplane
failed() { [[ $(inside systemctl is-active dataplane) == failed ]]; }
wait_for 10 failed
inside journalctl --no-pager --output cat --unit dataplane | grep -m 1 5000 || fail 'the journal does not say why'
inside sleep 1.5
failed || fail 'it is being started again'

say 'help'
inside bash -c '. /usr/share/bash-completion/completions/dataplane && complete -p dataplane'
inside zcat /usr/share/man/man1/dataplane-serve.1.gz | grep --max-count 1 'dataplane-serve'

say 'removed'
inside dpkg --purge dataplane
for path in /usr/bin/dataplane /etc/dataplane /lib/systemd/system/dataplane.service /usr/share/man/man1/dataplane.1.gz; do
    inside test ! -e "$path" || fail "$path is left behind"
done

inside getent passwd dataplane && fail 'its user is left behind'

say 'the package works'
