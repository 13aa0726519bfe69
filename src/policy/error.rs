//! The error of an invalid policy.

use crate::base::setting_error::setting_error;

setting_error! {
    /// An invalid policy: the field that is wrong, its value, and what is allowed.
    PolicyError, "Returns the value of the field.", "{} is {}: allowed is {}"
}
