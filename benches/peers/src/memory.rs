//! The bytes of one layer.

use crate::{
    alloc,
    cases::CALLS_BEFORE,
    ours::{LONG, NAME, SHAPES, ours},
    partner::AtOnce,
    peers::peers,
    subject::Subject,
};

/// What one layer allocates.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) name: &'static str,
    pub(crate) window: &'static str,
    /// Bytes after it is built. For a peer its service is included.
    pub(crate) built: i64,
    /// The same after [`Self::calls`].
    pub(crate) filled: i64,
    pub(crate) calls: u64,
}

pub(crate) fn measured() -> Vec<Memory> {
    let mut all = Vec::new();
    // A thread may keep the state of the last layer that it called through. A call through this
    // layer makes it the last one before bytes are counted.
    let mut aside = (ours::<AtOnce>().build)(LONG);
    for shape in SHAPES {
        let before = alloc::bytes();
        let layer = shape.layer();
        let built = alloc::bytes() - before;
        drop(layer);
        let mut subject = shape.subject::<AtOnce>();
        all.push(Memory {
            name: NAME,
            window: shape.name,
            built,
            filled: built + growth(&mut *subject, shape.calls, &mut *aside),
            calls: shape.calls,
        });
    }
    for breaker in peers::<AtOnce>() {
        let before = alloc::bytes();
        let mut subject = (breaker.build)(LONG);
        let built = alloc::bytes() - before;
        all.push(Memory {
            name: breaker.name,
            window: "as measured",
            built,
            filled: built + growth(&mut *subject, CALLS_BEFORE, &mut *aside),
            calls: CALLS_BEFORE,
        });
    }
    all
}

fn growth(subject: &mut dyn Subject, calls: u64, aside: &mut dyn Subject) -> i64 {
    aside.run(1);
    let before = alloc::bytes();
    subject.run(calls);
    aside.run(1);
    alloc::bytes() - before
}
