//! Serving an answer from the store.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{AGE, CACHE_CONTROL, CONTENT_LENGTH},
};
use sfv::{Integer, ItemSerializer, key_ref, token_ref};

use super::{body::LastGoodBody, entry::Kept};
use crate::{base::moment::Moment, facts::refused::Refused, http::shared_caches::KEPT_NOWHERE};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Marks a response that was served from the store, as an extension of the response.
#[derive(Debug, Clone)]
pub struct ServedLastGood {
    age: Duration,
    stale: Duration,
    refused: Option<Refused>,
}

impl ServedLastGood {
    /// Returns the age of the answer, including its time in caches in between.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }

    /// Returns how long the answer is past its freshness; zero for a fresh one.
    #[must_use]
    pub fn stale(&self) -> Duration {
        self.stale
    }

    /// Returns the refusal that the answer replaces; `None` if the partner was asked and failed.
    #[must_use]
    pub fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }
}

/// Why the stored answer is served.
pub(super) enum Why {
    Refused(Refused),
    /// The partner was asked and failed; with this status, if it answered.
    Failed(Option<StatusCode>),
}

pub(super) fn serve<B>(
    kept: &Kept,
    method: &Method,
    now: Moment,
    why: Why,
) -> Response<LastGoodBody<B>> {
    let (age, lifetime) = (kept.head.age(now), kept.head.lifetime());
    let bytes = match *method {
        Method::HEAD => Bytes::new(),
        _ => kept.body.clone(),
    };
    let mut response = Response::new(LastGoodBody::kept(bytes));
    *response.headers_mut() = kept.head.headers.clone();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, kept.body.len().into());
    headers.insert(AGE, age.as_secs().into());
    headers.insert(CACHE_CONTROL, KEPT_NOWHERE);
    if let Ok(status) = HeaderValue::try_from(cache_status(age, lifetime, &why)) {
        headers.append(CACHE_STATUS, status);
    }
    let refused = match why {
        Why::Refused(refused) => Some(refused),
        Why::Failed(_) => None,
    };
    response.extensions_mut().insert(ServedLastGood {
        age,
        stale: age.saturating_sub(lifetime),
        refused,
    });
    tracing::Span::current().record("maintenance.last_good", true);
    response
}

/// Returns the value of `Cache-Status` (RFC 9211): `hit` if the request was not forwarded,
/// otherwise why it was forwarded and the status that came back.
fn cache_status(age: Duration, lifetime: Duration, why: &Why) -> String {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let ttl = seconds(lifetime).saturating_sub(seconds(age));
    let item = ItemSerializer::new().bare_item(token_ref("tower-maintenance"));
    let item = match why {
        Why::Refused(_) => item.parameter(key_ref("hit"), true),
        Why::Failed(status) => {
            let reason = if age > lifetime { "stale" } else { "bypass" };
            let item = item.parameter(key_ref("fwd"), token_ref(reason));
            match status {
                Some(status) => item.parameter(key_ref("fwd-status"), status.as_u16()),
                None => item,
            }
        }
    };
    let detail = match why {
        Why::Refused(_) => "refused",
        Why::Failed(_) => "failed",
    };
    item.parameter(key_ref("ttl"), Integer::try_from(ttl).unwrap_or_default())
        .parameter(key_ref("detail"), token_ref(detail))
        .finish()
}
