//! The system calls that remain after the start, each with its reason.
//!
//! SECURITY.md holds the same table, made from this one; a test compares them. What is not here
//! ends the process. To find what a new feature needs, run it with `--no-sandbox` under
//! `strace -f`, or read the number from the kernel's log (`audit: type=1326 ... syscall=N`).

use libc::{
    AF_NETLINK, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_SETFD,
    F_SETFL, IPPROTO_TCP, NETLINK_ROUTE, PR_SET_NAME, PROT_EXEC, SO_ATTACH_FILTER,
    SO_DETACH_FILTER, SO_RCVBUF, SO_SNDBUF, SOL_PACKET, SOL_SOCKET, TCP_NODELAY,
};

/// What an argument has to be; arguments count from 0.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    /// This number, in the lower 32 bits.
    Is(u8, i64),
    /// All these bits are set.
    Has(u8, i32),
    /// None of these bits is set.
    HasNot(u8, i32),
    /// A null pointer.
    Null(u8),
    /// This process.
    OurPid(u8),
}

/// A system call that remains.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// Its name.
    pub(super) name: &'static str,
    /// Its number on this architecture.
    pub(super) number: i64,
    /// When it may be made, for people; empty: always.
    pub(super) only: &'static str,
    /// When it may be made: when all tests of one of these hold; empty: always.
    pub(super) when: &'static [&'static [Test]],
    /// Who makes it, and what for.
    pub(super) why: &'static str,
}

macro_rules! calls {
    ($($name:ident $number:ident $([$only:literal: $($when:expr),+])?: $why:literal;)+) => {
        &[$(Call {
            name: stringify!($name),
            number: libc::$number,
            only: concat!($($only)?),
            when: &[$($(&$when),+)?],
            why: $why,
        },)+]
    };
}

use Test::{Has, HasNot, Is, Null, OurPid};

const fn option(level: i32, name: i32) -> [Test; 2] {
    [Is(1, level as i64), Is(2, name as i64)]
}

const THREAD: i32 = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
/// As in <asm-generic/ioctls.h>; its type in libc differs between C libraries.
const FIONBIO: i64 = 0x5421;
/// `PR_SET_VMA`, with which newer C libraries name their memory.
const PR_SET_VMA: i64 = 0x5356_4d41;

/// On every architecture.
pub(super) const COMMON: &[Call] = calls! {
    accept4 SYS_accept4: "connections of operators and of the metrics listener";
    bind SYS_bind: "packet sockets to an interface that came, or came again; netlink";
    brk SYS_brk: "memory";
    clock_gettime SYS_clock_gettime: "time, where the vDSO has no answer";
    clock_nanosleep SYS_clock_nanosleep: "short rests of the operators' thread";
    clone SYS_clone ["threads": [Has(0, THREAD)]]: "loader threads of a new www-root; workers, and who makes their rings";
    clone3 SYS_clone3: "answered with ENOSYS, so that threads are made by clone, whose flags show";
    close SYS_close: "descriptors";
    eventfd2 SYS_eventfd2: "the bell of a new thread";
    exit SYS_exit: "the end of a thread";
    exit_group SYS_exit_group: "the end of the process";
    faccessat SYS_faccessat: "paths with `..`";
    faccessat2 SYS_faccessat2: "paths with `..`";
    fcntl SYS_fcntl [
        "duplicate; read and set flags": [Is(1, F_DUPFD_CLOEXEC as i64)], [Is(1, F_GETFD as i64)],
        [Is(1, F_SETFD as i64)], [Is(1, F_GETFL as i64)], [Is(1, F_SETFL as i64)]
    ]: "descriptors";
    fdatasync SYS_fdatasync: "capture files";
    fstat SYS_fstat: "served files, configuration files";
    fsync SYS_fsync: "capture files";
    ftruncate SYS_ftruncate: "the ready file";
    futex SYS_futex: "locks and messages between threads";
    getcwd SYS_getcwd: "the message of a panic, relative paths";
    getdents64 SYS_getdents64: "whether a www-root can be read";
    getpid SYS_getpid: "aborting, names of files";
    getrandom SYS_getrandom: "secrets and hash keys";
    getsockname SYS_getsockname: "who connected; netlink";
    getpeername SYS_getpeername: "who connected";
    getsockopt SYS_getsockopt: "errors and statistics of packet sockets";
    gettid SYS_gettid: "aborting, names of threads";
    gettimeofday SYS_gettimeofday: "time, where the vDSO has no answer";
    ioctl SYS_ioctl ["`FIONBIO`": [Is(1, FIONBIO)]]: "makes sockets non-blocking";
    lseek SYS_lseek: "the ready file, configuration files";
    madvise SYS_madvise: "memory that is given back";
    membarrier SYS_membarrier: "ordering between threads";
    mmap SYS_mmap ["not executable": [HasNot(2, PROT_EXEC)]]:
        "memory, stacks, rings of spare sockets";
    mprotect SYS_mprotect ["not executable": [HasNot(2, PROT_EXEC)]]:
        "memory, guard pages of stacks";
    mremap SYS_mremap: "memory that grows";
    munmap SYS_munmap: "memory, rings";
    nanosleep SYS_nanosleep: "short rests of the operators' thread";
    newfstatat SYS_newfstatat: "paths of served and configuration files";
    openat SYS_openat: "files, as far as Landlock lets it";
    openat2 SYS_openat2: "served files, by paths that cannot leave the www-root";
    ppoll SYS_ppoll: "sleep until something happens";
    prctl SYS_prctl [
        "names of threads and memory": [Is(0, PR_SET_NAME as i64)], [Is(0, PR_SET_VMA)]
    ]: "new threads";
    pread64 SYS_pread64: "served files";
    preadv2 SYS_preadv2: "served files in the page cache";
    prlimit64 SYS_prlimit64 ["read, our own": [Is(0, 0), Null(2)]]: "the size of a new stack";
    pwrite64 SYS_pwrite64: "capture files";
    read SYS_read: "files, bells, operators";
    readlinkat SYS_readlinkat: "paths of www-roots";
    readv SYS_readv: "files, operators";
    recvfrom SYS_recvfrom: "netlink, doorbells, operators";
    recvmsg SYS_recvmsg: "netlink";
    renameat2 SYS_renameat2: "capture files, within their folder";
    restart_syscall SYS_restart_syscall: "the kernel's, after SIGSTOP and SIGCONT";
    rseq SYS_rseq: "new threads";
    rt_sigaction SYS_rt_sigaction: "aborting; signals at the end";
    rt_sigprocmask SYS_rt_sigprocmask: "new threads, aborting";
    rt_sigreturn SYS_rt_sigreturn: "the end of a signal handler";
    sched_getaffinity SYS_sched_getaffinity: "new threads, number of CPUs";
    sched_yield SYS_sched_yield: "locks";
    sendmsg SYS_sendmsg: "the transmit ring's kick, frames past the ring, operators, metrics";
    sendto SYS_sendto: "rehearsals, netlink, operators";
    set_robust_list SYS_set_robust_list: "new threads";
    setsockopt SYS_setsockopt [
        "the options of rings, filters, fanout and buffer sizes": option(SOL_PACKET, libc::PACKET_RX_RING),
        option(SOL_PACKET, libc::PACKET_TX_RING), option(SOL_PACKET, libc::PACKET_VERSION),
        option(SOL_PACKET, libc::PACKET_RESERVE), option(SOL_PACKET, libc::PACKET_VNET_HDR),
        option(SOL_PACKET, libc::PACKET_LOSS), option(SOL_PACKET, libc::PACKET_TX_HAS_OFF),
        option(SOL_PACKET, libc::PACKET_QDISC_BYPASS), option(SOL_PACKET, libc::PACKET_FANOUT),
        option(SOL_PACKET, libc::PACKET_IGNORE_OUTGOING), option(SOL_SOCKET, SO_ATTACH_FILTER),
        option(SOL_SOCKET, SO_DETACH_FILTER), option(SOL_SOCKET, SO_RCVBUF),
        option(SOL_SOCKET, SO_SNDBUF), option(IPPROTO_TCP, TCP_NODELAY)
    ]: "attaching to an interface that came, or came again";
    shutdown SYS_shutdown: "operators, metrics";
    sigaltstack SYS_sigaltstack: "new threads";
    socket SYS_socket [
        "`AF_NETLINK`, `NETLINK_ROUTE`": [Is(0, AF_NETLINK as i64), Is(2, NETLINK_ROUTE as i64)]
    ]: "asking for an interface's MAC and MTU";
    statx SYS_statx: "paths of served and configuration files";
    tgkill SYS_tgkill ["our threads": [OurPid(0)]]: "aborting";
    uname SYS_uname: "show version";
    unlinkat SYS_unlinkat: "the operator socket and old capture files";
    write SYS_write: "logs, bells, operators, the ready file, capture files";
    writev SYS_writev: "logs, operators";
};

/// On x86-64 only: older calls that newer ones replaced elsewhere.
#[cfg(target_arch = "x86_64")]
pub(super) const LEGACY: &[Call] = calls! {
    access SYS_access: "as faccessat";
    lstat SYS_lstat: "as newfstatat";
    open SYS_open: "as openat";
    poll SYS_poll: "as ppoll";
    readlink SYS_readlink: "as readlinkat";
    rename SYS_rename: "as renameat2";
    stat SYS_stat: "as newfstatat";
    time SYS_time: "time, where the vDSO has no answer";
    unlink SYS_unlink: "as unlinkat";
};

/// Elsewhere there are none.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const LEGACY: &[Call] = &[];

/// The calls that remain on this architecture, as a table: SECURITY.md's.
pub fn table() -> String {
    let mut text = String::from("| call | only | what for |\n|---|---|---|\n");
    for (calls, note) in [(COMMON, ""), (LEGACY, " (x86-64)")] {
        for call in calls {
            let row = format!("| `{}`{note} | {} | {} |\n", call.name, call.only, call.why);
            text.push_str(&row);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(not(target_arch = "x86_64"), ignore = "the table is x86-64's")]
    fn security_md_lists_exactly_the_calls_that_remain() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../SECURITY.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (before, rest) = text.split_once("<!-- calls -->\n").unwrap();
        let (written, after) = rest.split_once("<!-- /calls -->").unwrap();
        let table = table();
        if std::env::var_os("UPDATE").is_some() {
            let new = format!("{before}<!-- calls -->\n{table}<!-- /calls -->{after}");
            std::fs::write(path, new).unwrap();
            return;
        }
        assert!(
            written == table,
            "SECURITY.md is stale; UPDATE=1 cargo test -p dataplane-runtime security_md writes it"
        );
    }

    #[test]
    fn every_call_is_listed_once_with_its_reason_and_none_of_the_dangerous_ones() {
        let mut names: Vec<&str> = Vec::new();
        for call in COMMON.iter().chain(LEGACY) {
            assert!(!call.why.is_empty(), "{}", call.name);
            assert_eq!(call.only.is_empty(), call.when.is_empty(), "{}", call.name);
            names.push(call.name);
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a call is listed twice");
        for never in [
            "execve",
            "execveat",
            "fork",
            "vfork",
            "ptrace",
            "bpf",
            "io_uring_setup",
        ] {
            assert!(!names.contains(&never), "{never}");
        }
    }
}
