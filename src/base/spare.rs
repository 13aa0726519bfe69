//! What a thread keeps for the calls on it.

use std::{
    cell::Cell,
    cmp::Reverse,
    collections::BinaryHeap,
    mem::ManuallyDrop,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

use crate::{
    base::moment::Moment, counting::lanes::Bucket, exemptions::Table, facts::refused::Notice,
    state::root::Local,
};

thread_local! {
    // All in one, and with its number from the first look on: whether it is there is then all that is asked at each look.
    static HERE: Here = Here::new();
}

pub(crate) struct Here {
    /// This thread's alone, as long as it lives.
    number: usize,
    /// Left by the last call that ended here.
    local: Cell<Option<Arc<Local>>>,
    /// Left by the last refusal that was dropped here.
    notice: Cell<Option<Arc<Notice>>>,
    /// Left by the last call here that an exemption was looked for.
    exemptions: Cell<Option<Arc<Table>>>,
    /// The bucket that the last success counted in, by either clock.
    pub(crate) bucket_by_instants: Cell<Option<Bucket<Instant>>>,
    pub(crate) bucket_by_moments: Cell<Option<Bucket<Moment>>>,
}

/// The numbers of threads: the next is the smallest that no living thread has, for the smallest own a lane.
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

impl Here {
    #[cold]
    fn new() -> Self {
        // The lock orders what a thread wrote under this number before what the next one does.
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.take();
        Self {
            number,
            local: Cell::new(None),
            notice: Cell::new(None),
            exemptions: Cell::new(None),
            bucket_by_instants: Cell::new(None),
            bucket_by_moments: Cell::new(None),
        }
    }

    #[inline]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Takes what the last call left here.
    #[inline]
    pub(crate) fn take_local(&self) -> Option<Arc<Local>> {
        self.local.take()
    }

    /// Takes what the last refusal left here.
    #[inline]
    pub(crate) fn take_notice(&self) -> Option<Arc<Notice>> {
        self.notice.take()
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.give_back(self.number);
    }
}

/// Looks at what this thread keeps; `None` while it ends.
#[inline]
pub(crate) fn with<T>(look: impl FnOnce(&Here) -> T) -> Option<T> {
    HERE.try_with(look).ok()
}

/// A number that no other living thread has. While a thread ends, when it may have been given on: larger than any.
#[inline]
pub(crate) fn number() -> usize {
    with(Here::number).unwrap_or(usize::MAX)
}

/// Leaves it to the next call here; what lay here goes.
#[inline]
pub(crate) fn leave_local(local: Arc<Local>) {
    // Models of threads run on one thread, and nothing of a model may outlive it.
    if cfg!(not(maintenance_loom)) {
        leave(&mut ManuallyDrop::new(Some(local)), |here| &here.local);
    }
}

/// Leaves it to the next refusal here; what lay here goes.
#[inline]
pub(crate) fn leave_notice(notice: &mut Option<Arc<Notice>>) {
    leave(notice, |here| &here.notice);
}

/// Takes the exemptions that the last call left here.
#[inline]
pub(crate) fn take_exemptions() -> Option<Arc<Table>> {
    with(|here| here.exemptions.take()).flatten()
}

/// Leaves them to the next call here; what lay here goes.
#[inline]
pub(crate) fn leave_exemptions(exemptions: Arc<Table>) {
    leave(&mut ManuallyDrop::new(Some(exemptions)), |here| {
        &here.exemptions
    });
}

/// By reference to what is not dropped by itself: to be ready to drop it, should the look panic, takes memory on the stack.
#[inline(always)]
fn leave<T>(left: &mut Option<Arc<T>>, place: impl FnOnce(&Here) -> &Cell<Option<Arc<T>>>) {
    let before = with(|here| place(here).replace(left.take()));
    match before {
        // Whoever took what lay there finds nothing.
        Some(None) => {}
        Some(before) => let_go(before),
        None => let_go(left.take()),
    }
}

#[cold]
#[inline(never)]
fn let_go<T>(left: Option<Arc<T>>) {
    drop(left);
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
                            // Nobody ends before everybody has one.
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
