//! An allocator that counts, and that can act in the midst of an allocation.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    sync::atomic::{AtomicI64, Ordering},
};

/// The system's allocator, which counts what it is asked for. A test binary that wants the numbers
/// declares it as its `#[global_allocator]`; elsewhere they are all 0.
#[derive(Debug)]
pub struct Counting;

static OF_PROCESS: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
    static NEXT: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// How often this thread has allocated.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// How often `run` allocates in this thread.
pub fn allocations_in(run: impl FnOnce()) -> u64 {
    let before = allocations();
    run();
    allocations() - before
}

/// How many bytes this thread has allocated, less those it has freed.
#[must_use]
pub fn bytes() -> i64 {
    BYTES.get()
}

/// How many bytes all threads have allocated and not yet freed.
#[must_use]
pub fn bytes_of_process() -> i64 {
    OF_PROCESS.load(Ordering::Relaxed)
}

/// How many bytes of this process lie in memory; `None` where `/proc/self/status` does not tell.
#[must_use]
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Lets `run` be called once, in the midst of this thread's next allocation; `None` takes it back.
pub fn at_next_allocation(run: Option<fn()>) {
    NEXT.set(run);
}

fn count(allocations: u64, more: usize, less: usize) {
    let change = signed(more) - signed(less);
    OF_PROCESS.fetch_add(change, Ordering::Relaxed);
    // A thread that ends may free after its own thread-locals are gone: `try_with`.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + allocations));
    let _ = BYTES.try_with(|count| count.set(count.get() + change));
    if allocations > 0
        && let Ok(Some(run)) = NEXT.try_with(Cell::take)
    {
        run();
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: the system's allocator does all the work; counting neither allocates nor unwinds, and
// `at_next_allocation` is called with functions that do neither.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: as our caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size, layout.size());
        // SAFETY: as our caller promises.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, 0, layout.size());
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}
