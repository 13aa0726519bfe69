//! Whose fault an error is: by the user's closures, and then by the error's type.

use std::{
    any::{Any, type_name},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::facts::{
    fault,
    outcome::{Outcome, Verdict},
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

    /// Judges an error of the client.
    ///
    /// If there are closures and none takes errors of this type, one warning is traced.
    #[cold]
    pub(crate) fn verdict<E: 'static>(&self, error: &E) -> Verdict {
        let told = self.0.as_ref().and_then(|closures| closures.judge(error));
        told.unwrap_or_else(|| by_default(error))
    }

    /// Judges an error of an answer's body. Closures for other types are no mistake here.
    #[cold]
    pub(crate) fn verdict_of_body<E: 'static>(&self, error: &E) -> Verdict {
        let closures = self.0.iter().flat_map(|closures| &closures.all);
        let told = closures
            .filter_map(|it| (it.judge)(error))
            .find_map(|it| it);
        told.unwrap_or_else(|| by_default(error))
    }
}

fn by_default(error: &dyn Any) -> Verdict {
    fault::of_any(error).unwrap_or(Outcome::Failure.into())
}

impl Closures {
    fn judge<E: 'static>(&self, error: &E) -> Option<Verdict> {
        let mut is_taken = false;
        for closure in &self.all {
            let Some(told) = (closure.judge)(error) else {
                continue;
            };
            is_taken = true;
            if told.is_some() {
                self.settled.store(true, Ordering::Relaxed);
                return told;
            }
        }
        if !self.settled.swap(true, Ordering::Relaxed) && !is_taken {
            self.warn(type_name::<E>());
        }
        None
    }

    fn warn(&self, comes: &str) {
        let takes: Vec<_> = self.all.iter().map(|closure| closure.takes).collect();
        tracing::warn!(
            errors = comes,
            closures = %takes.join(", "),
            "no closure of `judged_errors` takes errors of this type, so none has an effect: \
             give one whose parameter is a reference to it"
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
