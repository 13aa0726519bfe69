//! What a request does, as far as its method tells.

use http::Method;

use crate::facts::endpoint::Class;

/// What a method says by itself: only the safe ones read (RFC 9110, 9.2.1).
pub(crate) fn by_method(method: &Method) -> Class {
    if method.is_safe() {
        Class::Read
    } else {
        Class::Write
    }
}
