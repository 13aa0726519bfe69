//! One call: decided on, admitted, judged.

pub(crate) mod admission;
pub(crate) mod by_name;
pub(crate) mod inner;
pub(crate) mod just_refused;
pub(crate) mod nested;
pub(crate) mod plain;
pub(crate) mod protocol;
pub(crate) mod ticket;
#[cfg(feature = "http")]
pub(crate) mod upload_wait;
pub(crate) mod wake_on_shut;
