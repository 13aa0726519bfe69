//! The parts of a request that select the stored answer.

use std::{sync::Arc, time::Duration};

use axum::extract::OriginalUri;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{COOKIE, FORWARDED, HOST},
    request,
};

use super::{
    credentials::bears_credentials,
    directives::Directives,
    stored_headers::only,
    target::{DefaultPorts, Target, X_FORWARDED_PROTO, path_and_query},
};
use crate::base::moment::Moment;

/// The user and the resource of an answer.
///
/// The fields are compared one by one. A joined string could be equal for different fields.
// Without `Debug`, here and below: it would show users and credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    user: Option<Box<str>>,
    target: Target,
    /// The original path and query, if a router has cut the prefix of a `nest`. Two nests may both
    /// have `/prices`, and a nest whose prefix has a parameter has one for each of its values.
    original: Option<Box<str>>,
    /// The values of the key headers. An answer may show any of them without naming it in `Vary`.
    headers: Vec<(HeaderName, Box<[u8]>)>,
}

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The headers by which proxies and frameworks pass on the original target of a request, or replace
/// it.
pub(super) const KEYED: [HeaderName; 6] = [
    HOST,
    FORWARDED,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

impl Key {
    fn new(parts: &request::Parts, user: Option<String>, keyed: &[HeaderName]) -> Self {
        let target = Target::of(parts);
        let ports = DefaultPorts::of(parts);
        let is_known = |name: &&HeaderName| **name == HOST && !target.contradicts_host(parts);
        let of = |name: &HeaderName| {
            let values = parts.headers.get_all(name).iter();
            let values = values.map(|value| (name.clone(), value_of(name, value, ports)));
            values.collect::<Vec<_>>()
        };
        let keyed = keyed.iter().filter(|name| !is_known(name));
        let headers = keyed.flat_map(of).collect();
        Self {
            user: user.map(Into::into),
            target,
            original: original(parts),
            headers,
        }
    }

    pub(super) fn is_a_users(&self) -> bool {
        self.user.is_some()
    }

    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + 64);
        text(&self.user) + self.target.bytes() + text(&self.original) + headers.sum::<usize>()
    }
}

fn original(parts: &request::Parts) -> Option<Box<str>> {
    let OriginalUri(uri) = parts.extensions.get()?;
    Some(path_and_query(uri))
}

/// Returns the value of a key header without the spellings that do not matter.
fn value_of(name: &HeaderName, value: &HeaderValue, ports: DefaultPorts) -> Box<[u8]> {
    let value = value.as_bytes();
    if *name == X_FORWARDED_HOST {
        ports.leave_out(value)
    } else if *name == X_FORWARDED_PROTO {
        value.to_ascii_lowercase().into()
    } else {
        value.into()
    }
}

/// The parts of a request that are needed after the request is consumed.
pub(super) struct Asked {
    pub(super) key: Arc<Key>,
    pub(super) method: Method,
    /// The time before the partner was asked. An answer is at least as old as the time since then.
    pub(super) at: Moment,
    /// The count of drops when the request began.
    pub(super) epoch: u64,
    /// The generation when the request began, if recoveries count.
    pub(super) generation: Option<u64>,
    bears_credentials: bool,
    headers: HeaderMap,
    /// The `Cache-Control` of the request; `None` if it is malformed.
    directives: Option<Directives>,
}

impl Asked {
    pub(super) fn new(
        parts: &request::Parts,
        user: Option<String>,
        keyed: &[HeaderName],
        at: Moment,
    ) -> Self {
        Self {
            key: Arc::new(Key::new(parts, user, keyed)),
            method: parts.method.clone(),
            at,
            epoch: 0,
            generation: None,
            bears_credentials: bears_credentials(&parts.headers, keyed),
            directives: Directives::read(&parts.headers),
            headers: parts.headers.clone(),
        }
    }

    /// Drops the headers that are not needed to store the answer, which may stream for long.
    pub(super) fn keep_only(&mut self, names: &[HeaderName]) {
        self.headers = only(&self.headers, names);
    }

    /// Returns the directives; `None` if they are malformed or forbid storing.
    pub(super) fn directives(&self) -> Option<&Directives> {
        let given = self.directives.as_ref()?;
        (!given.has("no-store")).then_some(given)
    }

    /// Whether the request has credentials, and no user is named for it.
    pub(super) fn is_authorized_unkeyed(&self) -> bool {
        !self.key.is_a_users() && self.bears_credentials
    }

    /// Whether the request has cookies, and no user is named for it.
    pub(super) fn bears_cookies_unkeyed(&self) -> bool {
        !self.key.is_a_users() && self.headers.contains_key(COOKIE)
    }

    pub(super) fn values(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.headers.get_all(name).iter()
    }

    /// Whether the request's directives accept an answer of this age and freshness lifetime.
    pub(super) fn takes(&self, age: Duration, lifetime: Duration) -> bool {
        let Some(wants) = self.directives() else {
            return false;
        };
        let stale = age.saturating_sub(lifetime);
        let within = |limit: &str, value| wants.seconds(limit).is_none_or(|limit| value <= limit);
        // Browsers send `max-age=0` with every reload: see `LastGoodLayer`.
        let reloads = wants.seconds("max-age") == Some(Duration::ZERO);
        let any_staleness = wants.is_bare("max-stale");
        let fresh_for = lifetime.saturating_sub(age);
        !wants.has("no-cache")
            && (reloads || within("max-age", age))
            && (any_staleness || within("max-stale", stale))
            && within("stale-if-error", stale)
            && wants
                .seconds("min-fresh")
                .is_none_or(|least| fresh_for >= least)
    }
}
