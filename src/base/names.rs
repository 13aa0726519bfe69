//! Names in this process, each of which one living value has.
//!
//! Two layers of one name are nearly always a mistake: two states, each of which sees half of the
//! calls. So the first layer of a name takes it, and a later one is told of.
//!
//! There is one entry per name that a living value has, with a `Weak` reference. It is removed when
//! the value is dropped. To take a name and to give it up takes the lock once; no call does.

use std::{
    cell::Cell,
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// The names, and the values that have them.
// Not loom's mutex: no model looks at names, and nothing that loom could interrupt runs under it.
#[derive(Debug)]
pub(crate) struct Names<T>(Mutex<HashMap<Arc<str>, Named<T>>>);

/// The value that has a name.
#[derive(Debug)]
struct Named<T> {
    value: Weak<T>,
    /// Whether it was told that another value wants the name too. Once is enough: a program that
    /// builds a layer per request would fill its log.
    told: bool,
}

/// What came of taking a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The value has the name, or needs none.
    Yes,
    /// Another living value has it.
    FirstTwin,
    /// Another living value has it, and that was told before.
    Twin,
}

thread_local! {
    /// Whether values that are made on this thread take no name.
    static WITHOUT: Cell<bool> = const { Cell::new(false) };
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Names<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Named<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the name for the value, if no living value has it.
    pub(crate) fn take(&self, name: &Arc<str>, value: &Arc<T>) -> Taken {
        if WITHOUT.get() {
            return Taken::Yes;
        }
        let named = Named {
            value: Arc::downgrade(value),
            told: false,
        };
        match self.lock().entry(name.clone()) {
            // A value that is gone is about to remove its entry.
            Entry::Occupied(mut has) if has.get().value.strong_count() == 0 => {
                has.insert(named);
                Taken::Yes
            }
            Entry::Occupied(mut has) => match std::mem::replace(&mut has.get_mut().told, true) {
                false => Taken::FirstTwin,
                true => Taken::Twin,
            },
            Entry::Vacant(free) => {
                free.insert(named);
                Taken::Yes
            }
        }
    }

    /// Returns the value that has this name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<T>> {
        self.lock().get(name)?.value.upgrade()
    }

    /// Gives up the name of a value that is being dropped, if it has it.
    pub(crate) fn give_up(&self, name: &str, value: &T) {
        let mut names = self.lock();
        // The entry's `Weak` keeps the address from being reused.
        let has = names.get(name);
        if has.is_some_and(|has| std::ptr::eq(has.value.as_ptr(), value)) {
            names.remove(name);
        }
    }
}

/// Runs `make`. The values that it makes on this thread take no name.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_takes_memory_only_while_a_value_has_it() {
        let names = Names::default();
        let name: Arc<str> = "zuora".into();
        let [first, twin, third] = [1, 2, 3].map(Arc::new);
        assert_eq!(names.take(&name, &first), Taken::Yes);
        assert_eq!(names.take(&name, &twin), Taken::FirstTwin);
        assert_eq!(names.take(&name, &third), Taken::Twin);
        names.give_up(&name, &twin);
        assert_eq!(
            names.find(&name),
            Some(first.clone()),
            "it is not the twin's"
        );
        names.give_up(&name, &first);
        assert!(names.lock().is_empty());
    }

    #[test]
    fn a_name_is_free_between_the_end_of_a_value_and_its_giving_up() {
        let names = Names::default();
        let name: Arc<str> = "zuora".into();
        let old = Arc::new(1);
        names.take(&name, &old);
        let address = Arc::as_ptr(&old);
        drop(old);
        assert_eq!(names.find(&name), None);
        let new = Arc::new(2);
        assert_eq!(names.take(&name, &new), Taken::Yes);
        assert_ne!(address, Arc::as_ptr(&new), "its place was not reused yet");
        names.give_up(&name, &1);
        assert_eq!(
            names.find(&name),
            Some(new),
            "the old one took nothing with it"
        );
    }

    #[test]
    fn a_panic_does_not_leave_the_thread_without_names() {
        let panics = std::panic::catch_unwind(|| without(|| panic!("by the user's closure")));
        assert!(panics.is_err());
        let (names, value) = (Names::default(), Arc::new(1));
        names.take(&"zuora".into(), &value);
        assert!(names.find("zuora").is_some());
        assert_eq!(without(|| names.take(&"stripe".into(), &value)), Taken::Yes);
        assert!(names.find("stripe").is_none());
    }
}
