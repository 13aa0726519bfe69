//! The checked settings of the layer, and its store.

use std::{fmt, sync::Arc};

use http::{Method, Request, request};
use http_body::Body;

use super::{request_key::Asked, store::Store};
use crate::http::routes::path_pattern::Matcher;

pub(super) type Wanted = dyn Fn(&request::Parts) -> bool + Send + Sync;
pub(super) type NameUser = dyn Fn(&request::Parts) -> Option<String> + Send + Sync;

/// Shared by the layer's clones and services.
pub(super) struct Config {
    pub(super) paths: Option<Matcher>,
    pub(super) wanted: Option<Box<Wanted>>,
    pub(super) user: Option<Box<NameUser>>,
    pub(super) on_failure: bool,
    pub(super) store: Arc<Store>,
}

impl Config {
    /// Whether the request may be opted in, before `wanted` is asked. It allocates nothing.
    pub(super) fn may_concern<A: Body>(&self, request: &Request<A>) -> bool {
        let traces = [Method::CONNECT, Method::OPTIONS, Method::TRACE];
        let is_read = request.method().is_safe();
        let paths = self.paths.as_ref();
        !traces.contains(request.method())
            && paths.is_none_or(|paths| paths.find(request.uri().path()).is_some())
            // A body is not a part of the key.
            && (!is_read || request.body().is_end_stream())
    }

    /// Returns the request as the store needs it; `None` if it is not opted in.
    pub(super) fn asked(&self, parts: &request::Parts) -> Option<Box<Asked>> {
        if !self.wanted.as_ref().is_none_or(|wanted| wanted(parts)) {
            return None;
        }
        let user = self.user.as_ref().and_then(|user| user(parts));
        Some(Box::new(self.store.asked(parts, user)))
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGoodLayer")
            .field("paths", &self.paths)
            .field("only", &self.wanted.is_some())
            .field("keyed", &self.user.is_some())
            .field("on_failure_too", &self.on_failure)
            .field("counts", &self.store.counts())
            .finish()
    }
}
