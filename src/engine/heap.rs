//! What the C library keeps of memory that was freed.
//!
//! glibc gives each thread one of several pools, and keeps what is freed at the end of a pool for later. How much it keeps
//! grows with the largest block that was ever freed, up to 64 MiB a pool: in a process that loads a model now and then,
//! on a new thread each time, one pool after the other grows by a model's size. Nothing leaks, but after a hundred models
//! there are two or three times as many pages as after five. Other C libraries are left alone.

/// Blocks from this size on are mapped by themselves and given back when they are freed, and no pool keeps more at its end:
/// what glibc begins with.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const THRESHOLD: libc::c_int = 128 << 10;

/// Makes the C library keep little, from now on and in the whole process; for a process in which models are replaced, or
/// cameras come and go. Does nothing where the environment says how the C library is to keep memory.
pub fn keep_little() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        let told = || ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"].iter().any(|name| is_set(name));
        let tuned = || std::env::var("GLIBC_TUNABLES").is_ok_and(|text| text.contains("glibc.malloc."));
        ONCE.call_once(|| {
            if !told() && !tuned() {
                // SAFETY: sets two numbers of the allocator's, under its own lock.
                unsafe {
                    libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD);
                    libc::mallopt(libc::M_TRIM_THRESHOLD, THRESHOLD);
                }
            }
        });
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Gives memory that was freed back to the system when it is dropped. That takes a few milliseconds, in which other threads
/// that allocate may wait: drop a model where nobody waits for a frame.
pub(super) struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        // SAFETY: it only gives back pages that no allocation uses, and takes the allocator's own locks for that.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
