//! One reading of a status page.

use std::{error::Error as StdError, future::poll_fn, pin::pin, time::Duration};

use bytes::Buf;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, ETAG, IF_NONE_MATCH, LOCATION, USER_AGENT},
};
use http_body::Body;
use tower::{BoxError, Service, ServiceExt};

use super::page::parse;
use crate::{base::clock::Clock, facts::partner_word::PartnerStatus, http::calls::retry_after};

/// The longest body. A real one has 300 bytes.
const LONGEST_BODY: usize = 64 * 1024;

const AGENT: &str = concat!("tower-maintenance/", env!("CARGO_PKG_VERSION"));

/// Reads the page, and keeps the last report.
pub(super) struct Reader<S> {
    client: S,
    uri: Uri,
    timeout: Duration,
    fresh_for: Duration,
    /// The last report, and the entity-tag of its answer.
    last: Option<(HeaderValue, PartnerStatus)>,
}

/// A failed reading.
pub(super) struct Unread {
    pub(super) why: String,
    /// The wait that the page asks for.
    pub(super) asked: Option<Duration>,
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Self { why, asked: None }
    }
}

impl<S> Reader<S> {
    pub(super) fn new(client: S, uri: Uri, timeout: Duration, fresh_for: Duration) -> Self {
        Self {
            client,
            uri,
            timeout,
            fresh_for,
            last: None,
        }
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) async fn read<A, B>(&mut self) -> Result<PartnerStatus, Unread>
    where
        S: Service<Request<A>, Response = Response<B>, Error: Into<BoxError>>,
        A: Default,
        B: Body<Error: Into<BoxError>>,
    {
        let timeout = self.timeout;
        let limited = tokio::time::timeout(timeout, self.ask()).await;
        limited.unwrap_or_else(|_elapsed| Err(format!("no answer within {timeout:?}").into()))
    }

    async fn ask<A, B>(&mut self) -> Result<PartnerStatus, Unread>
    where
        S: Service<Request<A>, Response = Response<B>, Error: Into<BoxError>>,
        A: Default,
        B: Body<Error: Into<BoxError>>,
    {
        let client = self.client.ready().await.map_err(failed)?;
        let mut request = Request::new(A::default());
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some((tag, _)) = &self.last {
            headers.insert(IF_NONE_MATCH, tag.clone());
        }
        let (head, body) = client.call(request).await.map_err(failed)?.into_parts();
        match (head.status, &self.last) {
            (StatusCode::OK, _) => {}
            (StatusCode::NOT_MODIFIED, Some((_, says))) => return Ok(says.clone()),
            (status, _) => {
                let hint = if head.headers.contains_key(LOCATION) {
                    "; use the address of the redirect, or a client that follows redirects"
                } else {
                    ""
                };
                return Err(Unread {
                    why: format!("answered {status} instead of 200 OK{hint}"),
                    asked: retry_after::asked(&head.headers, Clock::wall),
                });
            }
        }
        let says = parse(&whole(body).await?)?
            .with_source(&self.uri.to_string())
            .fresh_for(self.fresh_for);
        let tag = head.headers.get(ETAG);
        self.last = tag.map(|tag| (tag.clone(), says.clone()));
        Ok(says)
    }
}

/// Returns an error of the client with the chain of its sources. The outermost error rarely tells
/// the cause.
fn failed(error: impl Into<BoxError>) -> Unread {
    let error = error.into();
    let mut why = error.to_string();
    let mut beneath = error.source();
    while let Some(error) = beneath {
        why = format!("{why}: {error}");
        beneath = StdError::source(error);
    }
    why.into()
}

async fn whole<B: Body<Error: Into<BoxError>>>(body: B) -> Result<Vec<u8>, Unread> {
    let too_long = || Unread::from(format!("the body is longer than {LONGEST_BODY} bytes"));
    if body.size_hint().lower() > LONGEST_BODY as u64 {
        return Err(too_long());
    }
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(mut data) = frame.map_err(failed)?.into_data() else {
            continue; // trailers
        };
        if data.remaining() > LONGEST_BODY - bytes.len() {
            return Err(too_long());
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            bytes.extend_from_slice(chunk);
            let length = chunk.len();
            data.advance(length);
        }
    }
    Ok(bytes)
}
