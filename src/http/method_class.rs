//! The class of a request, as far as its method tells.

use http::Method;

use crate::facts::endpoint::Class;

/// Returns the class of a method: the safe ones read (RFC 9110, 9.2.1), all others write.
pub(crate) fn by_method(method: &Method) -> Class {
    if method.is_safe() {
        Class::Read
    } else {
        Class::Write
    }
}
