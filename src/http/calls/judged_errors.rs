//! Whose fault an error is: by the user's closures, and then by the error's type.

use std::{
    any::{Any, type_name},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    base::target::TARGET,
    facts::{fault, outcome::Verdict},
};

/// The user's closures that judge errors. Each takes errors of one type.
///
/// `None` without any: it is cloned once per answer.
#[derive(Clone, Default)]
pub(crate) struct JudgedErrors(Option<Arc<Closures>>);

#[derive(Clone, Default)]
struct Closures {
    all: Vec<Closure>,
    /// Whether a closure once took an error, or the warning was given that none does.
    settled: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Closure {
    takes: &'static str,
    judge: Arc<Judge>,
}

/// Returns `None` for an error of another type.
type Judge = dyn Fn(&dyn Any) -> Option<Option<Verdict>> + Send + Sync;

impl JudgedErrors {
    /// Adds a closure. It is asked after those that were there before.
    #[must_use]
    pub(crate) fn and<E: 'static, V: Into<Verdict>>(
        self,
        judge: impl Fn(&E) -> Option<V> + Send + Sync + 'static,
    ) -> Self {
        let judge = move |error: &dyn Any| Some(judge(error.downcast_ref()?).map(Into::into));
        let mut closures = self.0.map(Arc::unwrap_or_clone).unwrap_or_default();
        closures.settled = Arc::default();
        closures.all.push(Closure {
            takes: type_name::<E>(),
            judge: Arc::new(judge),
        });
        Self(Some(Arc::new(closures)))
    }

    /// Returns the verdict on an error of the client whose fault is told.
    ///
    /// If there are closures and none takes errors of this type, or the view cannot open errors,
    /// one warning is traced.
    #[cold]
    pub(crate) fn told(&self, error: Option<&dyn Any>) -> Option<Verdict> {
        let told = self.0.as_ref().and_then(|closures| closures.judge(error));
        told.or_else(|| error.and_then(fault::of_any))
    }
}

impl Closures {
    fn judge(&self, error: Option<&dyn Any>) -> Option<Verdict> {
        let mut is_taken = false;
        for closure in &self.all {
            let Some(told) = error.and_then(|error| (closure.judge)(error)) else {
                continue;
            };
            is_taken = true;
            if told.is_some() {
                self.settled.store(true, Ordering::Relaxed);
                return told;
            }
        }
        if !self.settled.swap(true, Ordering::Relaxed) && !is_taken {
            self.warn();
        }
        None
    }

    fn warn(&self) {
        let takes: Vec<_> = self.all.iter().map(|closure| closure.takes).collect();
        tracing::warn!(target: TARGET,
            closures = %takes.join(", "),
            "no closure of `judged_errors` takes the client's errors, so none has an effect: take the \
             view `nested()` or `boxed()`, and a closure whose parameter is a reference to the \
             error's type"
        );
    }
}

impl fmt::Debug for JudgedErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closures = self.0.iter().flat_map(|closures| &closures.all);
        f.debug_list()
            .entries(closures.map(|closure| closure.takes))
            .finish()
    }
}
