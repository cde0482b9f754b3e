//! Memory the C library's allocator keeps. Not a ring's matter; it is here because calls that have
//! no safe wrapper are this crate's.
#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "malloc_trim has no safe wrapper")
)]

/// Gives the kernel what was freed and the allocator keeps: glibc gives back the end of a heap
/// alone, and one small piece there holds all before it (`malloc_trim(3)`). Nothing is done with
/// another C library.
///
/// It walks all heaps, each locked meanwhile, and makes a system call for every run of free pages:
/// milliseconds for some tens of megabytes. For quiet moments.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, may be called by any thread, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
