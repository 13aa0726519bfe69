//! What of a request decides which stored answer it may be given.

use std::{sync::Arc, time::Duration};

use axum::extract::OriginalUri;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, COOKIE, FORWARDED, HOST},
    request,
};

use super::directives::Directives;
use crate::base::moment::Moment;

/// Whose answer, of which resource. Compared field by field: nothing is joined, so nothing can be mistaken.
// No `Debug`, here and below: it would show who asks, and by which credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    user: Option<Box<str>>,
    uri: Box<str>,
    /// The URI as it came, where a router has since stripped the prefix of a `nest`: two nests may both have `/prices`,
    /// and one nest has as many as its prefix has values.
    original: Option<Box<str>>,
    /// Those of the headers that a key has: an answer may show any of them without naming it in `Vary`.
    headers: Vec<(HeaderName, Box<[u8]>)>,
}

/// The headers by which proxies and frameworks say what the request was for before they changed it, or what it is for instead.
pub(super) const KEYED: [HeaderName; 6] = [
    HOST,
    FORWARDED,
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

impl Key {
    fn new(parts: &request::Parts, user: Option<String>, keyed: &[HeaderName]) -> Self {
        let of = |name: &HeaderName| {
            let values = parts.headers.get_all(name).iter();
            let values = values.map(|value| (name.clone(), value.as_bytes().into()));
            values.collect::<Vec<_>>()
        };
        Self {
            user: user.map(Into::into),
            uri: parts.uri.to_string().into(),
            original: original(parts),
            headers: keyed.iter().flat_map(of).collect(),
        }
    }

    pub(super) fn is_a_users(&self) -> bool {
        self.user.is_some()
    }

    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + 64);
        text(&self.user) + self.uri.len() + text(&self.original) + headers.sum::<usize>()
    }
}

fn original(parts: &request::Parts) -> Option<Box<str>> {
    let OriginalUri(uri) = parts.extensions.get()?;
    Some(uri.to_string().into())
}

/// A request that was opted in, as far as it is needed once it is gone.
pub(super) struct Asked {
    pub(super) key: Arc<Key>,
    pub(super) method: Method,
    /// Before the partner was asked: an answer is never younger than this makes it.
    pub(super) at: Moment,
    /// How often was dropped what is kept, when this began.
    pub(super) epoch: u64,
    headers: HeaderMap,
    /// `None` if they cannot be read.
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
            directives: Directives::read(&parts.headers),
            headers: parts.headers.clone(),
        }
    }

    /// The directives, unless the request is to have nothing to do with a cache.
    pub(super) fn directives(&self) -> Option<&Directives> {
        let given = self.directives.as_ref()?;
        (!given.has("no-store")).then_some(given)
    }

    /// Whether it says who asks, and nobody has said whom that names.
    pub(super) fn is_authorized_unkeyed(&self) -> bool {
        !self.key.is_a_users() && self.headers.contains_key(AUTHORIZATION)
    }

    /// Whether it may say who asks.
    pub(super) fn bears_cookies_unkeyed(&self) -> bool {
        !self.key.is_a_users() && self.headers.contains_key(COOKIE)
    }

    pub(super) fn values(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.headers.get_all(name).iter()
    }

    /// Whether it takes an answer of this age, which is past its freshness by so much.
    pub(super) fn takes(&self, age: Duration, lifetime: Duration) -> bool {
        let Some(wants) = self.directives() else {
            return false;
        };
        let stale = age.saturating_sub(lifetime);
        let within = |limit: &str, value| wants.seconds(limit).is_none_or(|limit| value <= limit);
        // `max-age=0` is what browsers send with every reload: see `LastGoodLayer`.
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
