//! Access to the inner service of a service.

/// Defines `get_ref`, `get_mut` and `into_inner` in an `impl<S>`, for a field `inner: S`.
macro_rules! inner_service {
    () => {
        /// Returns a reference to the inner service.
        pub fn get_ref(&self) -> &S {
            &self.inner
        }

        /// Returns a mutable reference to the inner service.
        pub fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Returns the inner service.
        #[must_use]
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}

pub(crate) use inner_service;
