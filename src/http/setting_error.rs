//! What a builder says of a setting that it cannot take: which one, what it has, and what would be allowed.
//!
//! A type for each builder, so that a caller who matches on one is told by the compiler which errors there are; one shape for all.

/// Makes such a type, by what it says of itself, its name, what it says of its value, and how it is shown: field, value, and what is allowed.
macro_rules! setting_error {
    ($(#[$about:meta])* $name:ident, $value:literal, $shown:literal) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            field: &'static str,
            value: String,
            allowed: String,
        }

        impl $name {
            pub(crate) fn new(
                field: &'static str,
                value: impl Into<String>,
                allowed: impl Into<String>,
            ) -> Self {
                Self {
                    field,
                    value: value.into(),
                    allowed: allowed.into(),
                }
            }

            /// What is wrong: a method of the builder, or an argument.
            #[must_use]
            pub fn field(&self) -> &'static str {
                self.field
            }

            #[doc = $value]
            #[must_use]
            pub fn value(&self) -> &str {
                &self.value
            }

            /// What would be allowed.
            #[must_use]
            pub fn allowed(&self) -> &str {
                &self.allowed
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                use $crate::base::one_line::OneLine;
                // Either may have come from outside.
                write!(f, $shown, self.field, OneLine(&self.value), OneLine(&self.allowed))
            }
        }

        impl std::error::Error for $name {}
    };
}

pub(crate) use setting_error;
