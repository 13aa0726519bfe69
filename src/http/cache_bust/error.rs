//! The error of an invalid setting.

use crate::base::setting_error::setting_error;

setting_error! {
    /// A setting of a [`CacheBustBuilder`](super::CacheBustBuilder) or of a
    /// [`CdnPurge`](super::CdnPurge) is invalid.
    CacheBustError,
    "Returns the value of the setting; a token is not shown.",
    "{} is `{}`: allowed is {}"
}
