//! Memory that was freed, given back to the system.

/// Gives memory that was freed back to the system, which many large messages would leave with this process for good: the C
/// library keeps what lies between pieces that are in use. Takes some milliseconds; does nothing where it is not glibc.
#[cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "a call into the C library")
)]
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time and from any thread.
    let _ = unsafe { libc::malloc_trim(0) };
}
