//! The names of the layers of this process.
//!
//! Two layers of one name are nearly always a mistake: two states, each of which sees half of the
//! calls. So the first layer of a name takes it, and a later one is told of by one warning.
//!
//! There is one entry per name that a living layer has, with a `Weak` reference. It is removed when
//! the last view, service or handle of that layer is dropped. Building a layer and dropping its
//! last holder take the lock once; no call does.

use std::{
    cell::Cell,
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{harmless, root::Root, trace::warn_of_twin};

/// The layer that has a name.
struct Named {
    root: Weak<Root>,
    /// Whether the warning was traced that another layer has the name too. Once is enough: a
    /// program that builds a layer per request would fill its log.
    told: bool,
}

static NAMES: LazyLock<Mutex<HashMap<Arc<str>, Named>>> = LazyLock::new(Mutex::default);

thread_local! {
    /// Whether layers that are built on this thread take no name.
    static WITHOUT: Cell<bool> = const { Cell::new(false) };
}

// Not loom's mutex: no model looks at names, and nothing that loom could interrupt runs under it.
fn names() -> MutexGuard<'static, HashMap<Arc<str>, Named>> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the layer's name for it, if no living layer has it.
pub(crate) fn take(root: &Arc<Root>) {
    if WITHOUT.get() {
        return;
    }
    let named = Named {
        root: Arc::downgrade(root),
        told: false,
    };
    let has_twin = match names().entry(root.partner().clone()) {
        // An entry whose layer is gone is about to be removed by that layer's drop.
        Entry::Occupied(mut has) if has.get().root.strong_count() == 0 => {
            has.insert(named);
            false
        }
        Entry::Occupied(mut has) => !std::mem::replace(&mut has.get_mut().told, true),
        Entry::Vacant(free) => {
            free.insert(named);
            false
        }
    };
    // After the lock is free, because a subscriber may build or drop a layer.
    if has_twin && !mutant!("two layers of one name are not told of") {
        harmless(|| warn_of_twin(root.partner()));
    }
}

/// Returns the layer that has this name.
pub(crate) fn find(partner: &str) -> Option<Arc<Root>> {
    names().get(partner)?.root.upgrade()
}

/// Gives up the name of a layer that is being dropped, if it has it.
pub(crate) fn give_up(root: &Root) {
    let mut names = names();
    // The entry's `Weak` keeps the address from being reused.
    let has = names.get(&**root.partner());
    if has.is_some_and(|has| std::ptr::eq(has.root.as_ptr(), root)) {
        names.remove(&**root.partner());
    }
}

/// Runs `make`. The layers that it builds on this thread take no name.
pub(crate) fn without<T>(make: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            WITHOUT.set(self.0);
        }
    }
    let _restore = Restore(WITHOUT.replace(true));
    make()
}

#[cfg(all(test, not(maintenance_loom)))]
mod tests {
    use super::*;
    use crate::layer::MaintenanceLayer;

    fn is_listed(name: &str) -> bool {
        names().contains_key(name)
    }

    #[test]
    fn a_name_takes_memory_only_while_a_layer_has_it() {
        let name = "a partner of this test";
        let layer = MaintenanceLayer::new(name);
        let handle = layer.handle();
        let twin = MaintenanceLayer::new(name);
        drop(layer);
        assert!(is_listed(name), "a handle is left");
        drop(handle);
        assert!(!is_listed(name));
        drop(twin);
        assert!(!is_listed(name));
    }

    #[test]
    fn a_layer_that_is_built_while_another_is_dropped_gets_the_name() {
        let name = "another partner of this test";
        for _ in 0..200 {
            let old = MaintenanceLayer::new(name);
            let dropping = std::thread::spawn(move || drop(old));
            let new = MaintenanceLayer::new(name);
            dropping.join().unwrap();
            let found = MaintenanceLayer::existing(name);
            let is_new = |found: &MaintenanceLayer| Arc::ptr_eq(found.root(), new.root());
            // The new one was built first or last.
            assert!(found.is_none_or(|found| is_new(&found)));
            drop(new);
            assert!(!is_listed(name));
        }
    }

    #[test]
    fn a_panic_does_not_leave_the_thread_without_names() {
        let panics = std::panic::catch_unwind(|| without(|| panic!("by the user's closure")));
        assert!(panics.is_err());
        let layer = MaintenanceLayer::new("a third partner of this test");
        assert!(MaintenanceLayer::existing(layer.handle().partner()).is_some());
    }
}
