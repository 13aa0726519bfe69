//! The values with which rules about JSON compare.

use serde_json::Value;

/// A value with which a [`JsonAnswer`](super::JsonAnswer) compares: `true`, `4711`, `"overloaded"`.
///
/// Numbers are compared as numbers: 7 equals 7.0. A number never equals a text, and `1` never
/// equals `true`. Fractions are compared as serde_json reads them, which may be off in the last
/// bit. Prefer whole numbers for codes.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonScalar(Scalar);

#[derive(Debug, Clone)]
enum Scalar {
    Bool(bool),
    Whole(i128),
    Number(f64),
    Text(String),
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Whole(a), Self::Whole(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::Whole(whole), Self::Number(number))
            | (Self::Number(number), Self::Whole(whole)) => *whole as f64 == *number,
            _ => false,
        }
    }
}

impl JsonScalar {
    pub(super) fn of(value: Value) -> Option<Self> {
        Some(Self(match value {
            Value::Bool(is) => Scalar::Bool(is),
            Value::String(text) => Scalar::Text(text),
            Value::Number(number) => {
                let whole = number.as_u64().map(i128::from);
                match whole.or_else(|| number.as_i64().map(i128::from)) {
                    Some(whole) => Scalar::Whole(whole),
                    None => Scalar::Number(number.as_f64()?),
                }
            }
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        }))
    }

    /// Returns the value if it is a whole number that is not negative.
    pub(super) fn as_code(&self) -> Option<u64> {
        match self.0 {
            Scalar::Whole(number) => u64::try_from(number).ok(),
            Scalar::Bool(_) | Scalar::Number(_) | Scalar::Text(_) => None,
        }
    }
}

macro_rules! scalar_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for JsonScalar {
            fn from(value: $from) -> Self {
                Self(Scalar::$variant(value.into()))
            }
        }
    )*};
}

scalar_from! {
    bool => Bool,
    u16 => Whole,
    u32 => Whole,
    u64 => Whole,
    i32 => Whole,
    i64 => Whole,
    f64 => Number,
    &str => Text,
    String => Text,
}
