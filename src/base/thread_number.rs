//! A small number for each living thread.
//!
//! A thread that owns a small number owns a lane of counters. Numbers of ended threads are reused,
//! smallest first, so that a program which starts and ends many threads keeps to the small ones.

use std::{
    cell::Cell,
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Mutex, PoisonError},
};

/// No number: this thread has not asked for one yet, or its thread-local storage is already
/// destroyed.
const NONE: usize = usize::MAX;

thread_local! {
    /// Without a destructor, so that reading it is one load (5 instructions less than through
    /// [`OWN`]; `cargo run --release -p peers`, `admitted`).
    static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    static OWN: Own = Own::take();
}

/// The number of one living thread.
struct Own(usize);

/// The numbers that living threads hold.
#[derive(Debug)]
struct Numbers {
    next: usize,
    free: BinaryHeap<Reverse<usize>>,
}

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers::new());

impl Numbers {
    const fn new() -> Self {
        Self {
            next: 0,
            free: BinaryHeap::new(),
        }
    }

    /// Takes the smallest number that no living thread holds.
    fn take(&mut self) -> usize {
        if let Some(Reverse(number)) = self.free.pop() {
            return number;
        }
        self.next += 1;
        self.next - 1
    }

    fn give_back(&mut self, number: usize) {
        self.free.push(Reverse(number));
    }
}

impl Own {
    #[cold]
    fn take() -> Self {
        // The lock orders all writes of the number's last owner before those of the next.
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        Self(numbers.take())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        NUMBER.set(NONE);
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.give_back(self.0);
    }
}

/// Returns the number of this thread if it has one already; a number larger than any otherwise.
#[inline]
pub(crate) fn known() -> usize {
    NUMBER.get()
}

/// Returns the number of this thread, which no other living thread has; while the thread ends, a
/// number larger than any.
#[inline]
pub(crate) fn number() -> usize {
    match NUMBER.get() {
        NONE => take(),
        number => number,
    }
}

#[cold]
#[inline(never)]
fn take() -> usize {
    let number = OWN.try_with(|own| own.0).unwrap_or(NONE);
    NUMBER.set(number);
    number
}

#[cfg(all(test, not(maintenance_loom)))]
mod tests {
    use std::{collections::HashSet, sync::Barrier, thread};

    use super::{Numbers, number};

    #[test]
    fn the_smallest_number_that_is_free_is_taken() {
        let mut numbers = Numbers::new();
        let taken: Vec<_> = (0..8).map(|_| numbers.take()).collect();
        assert_eq!(taken, [0, 1, 2, 3, 4, 5, 6, 7]);
        for number in [1, 6, 3] {
            numbers.give_back(number);
        }
        let again: Vec<_> = (0..4).map(|_| numbers.take()).collect();
        assert_eq!(again, [1, 3, 6, 8]);
    }

    #[test]
    fn living_threads_have_different_numbers_and_dead_ones_give_theirs_back() {
        let numbers = || -> HashSet<usize> {
            let barrier = Barrier::new(8);
            thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            let mine = number();
                            // Each thread lives until all eight have a number.
                            barrier.wait();
                            assert_eq!(mine, number());
                            mine
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("no thread panicked"))
                    .collect()
            })
        };
        let most = (0..50).map(|_| {
            let numbers = numbers();
            assert_eq!(numbers.len(), 8, "no two have the same");
            numbers.into_iter().max()
        });
        // Other tests' threads take numbers too, but not hundreds.
        assert!(most.max().flatten() < Some(300), "numbers are used again");
    }
}
