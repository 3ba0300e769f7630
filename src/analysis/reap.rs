//! Letting go of what may end an engine, on threads that cannot wait for it.
//!
//! Whoever drops the last reference to a model ends its engine, which takes a while: sessions are torn down, threads joined,
//! gigabytes given back. The activating thread and the lanes have the time. The threads that frames pass through have not; mostly
//! they are not the last ones, and where they are, another thread does it.

use std::sync::Arc;
use std::thread;

/// Gives up a reference; what is dropped with the last one is dropped on another thread.
pub(super) fn let_go<T: Send + Sync + 'static>(shared: Arc<T>) {
    if let Some(last) = Arc::into_inner(shared) {
        reap(last);
    }
}

/// Drops `what` on another thread.
pub(super) fn reap<T: Send + 'static>(what: T) {
    // Without a thread it is dropped here: late frames are better than memory that is never given back.
    let _ = thread::Builder::new().name("vigil-reap".into()).spawn(move || drop(what));
}
