//! The synchronisation primitives of the state, swapped for loom's under `--cfg maintenance_loom`.
//!
//! Only what loom explores goes through here: the published word and the lock around the machine.

#[cfg(maintenance_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
#[cfg(not(maintenance_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
