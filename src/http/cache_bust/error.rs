//! What is wrong with a setting.

use crate::http::setting_error::setting_error;

setting_error! {
    /// A [`CacheBustLayer`], or a [`CdnPurge`], that makes no sense.
    CacheBustError, "The value that it has; of a token nothing.", "{} is `{}`: allowed is {}"
}
