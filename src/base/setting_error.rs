//! The shape of the errors that the policy and the builders return for an invalid setting.
//!
//! Each has an error type of its own, so that the type tells a caller which errors are possible.
//! All of these types have the same three parts: the field, its value, and what is allowed.

/// Declares such an error type.
///
/// Its arguments are the documentation of the type, its name, the documentation of its value, and
/// the format of its message. The format takes the field, the value, and what is allowed.
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

            /// Returns the name of the invalid setting: a field, a method of the builder, or an
            /// argument.
            #[must_use]
            pub fn field(&self) -> &'static str {
                self.field
            }

            #[doc = $value]
            #[must_use]
            pub fn value(&self) -> &str {
                &self.value
            }

            /// Returns what is allowed.
            #[must_use]
            pub fn allowed(&self) -> &str {
                &self.allowed
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                use $crate::base::one_line::OneLine;
                // Both may hold text from outside this process.
                write!(f, $shown, self.field, OneLine(&self.value), OneLine(&self.allowed))
            }
        }

        impl std::error::Error for $name {}
    };
}

pub(crate) use setting_error;
