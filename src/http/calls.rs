//! Around an HTTP client: judged by status and body, refused by error.

use std::{fmt, sync::Arc};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;

use super::{body::Measured, retry_after};
use crate::{
    clock::Clock,
    endpoint::{Endpoint, Placement},
    error::{Error, Refused},
    protocol::{Protocol, Ticket},
    verdict::{Outcome, Verdict},
};

/// Around an HTTP client; see [`MaintenanceLayer::http_calls`](crate::MaintenanceLayer::http_calls) for
/// what counts as what.
///
/// Its options, by [`speaking`](crate::MaintenanceLayer::speaking):
///
/// ```
/// use tower_maintenance::{MaintenanceLayer, Outcome, http::HttpCalls};
///
/// let calls = HttpCalls::new()
///     .judged_by(|status, _headers| match status.as_u16() {
///         404 => Outcome::Failure.into(), // this partner never forgets an invoice
///         _ => HttpCalls::by_status(status, _headers),
///     })
///     .may_probe(|method, uri| method.is_safe() || uri.path() == "/v1/ping")
///     .judged_at_headers();
/// let view = MaintenanceLayer::new("zuora").speaking(calls);
/// # let _ = view;
/// ```
#[derive(Clone, Default)]
pub struct HttpCalls {
    verdict: Option<Arc<JudgeHead>>,
    may_probe: Option<Arc<JudgeProbe>>,
    until: Until,
}

type JudgeHead = dyn Fn(StatusCode, &HeaderMap) -> Verdict + Send + Sync;
type JudgeProbe = dyn Fn(&Method, &Uri) -> bool + Send + Sync;

/// When an answer that looks good is a success.
#[derive(Debug, Clone, Copy, Default)]
enum Until {
    #[default]
    BodyEnds,
    HeadersCame,
}

impl HttpCalls {
    /// Judges by status, and by whether the body comes to its end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges the head of an answer by `verdict` instead of [`by_status`](Self::by_status).
    #[must_use]
    pub fn judged_by(
        self,
        verdict: impl Fn(StatusCode, &HeaderMap) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self {
            verdict: Some(Arc::new(verdict)),
            ..self
        }
    }

    /// Says which requests may probe. Default: those with a safe method.
    #[must_use]
    pub fn may_probe(
        self,
        may_probe: impl Fn(&Method, &Uri) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            may_probe: Some(Arc::new(may_probe)),
            ..self
        }
    }

    /// Gives the verdict at the headers and leaves the body alone, for callers who never read it.
    /// Default: headers are provisional, and a body that nobody reads to its end is neutral.
    #[must_use]
    pub fn judged_at_headers(self) -> Self {
        Self {
            until: Until::HeadersCame,
            ..self
        }
    }

    /// The default judgement of an answer's head.
    ///
    /// Of an answer that is no success it also reads how long the partner asks to be left alone:
    /// [`retry_after`](super::retry_after()), by this machine's wall clock where a date needs one.
    #[must_use]
    pub fn by_status(status: StatusCode, headers: &HeaderMap) -> Verdict {
        let outcome = match status {
            StatusCode::REQUEST_TIMEOUT => Outcome::Failure,
            // Our credentials, and our own rate: neither says that the partner is down.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                Outcome::Neutral
            }
            status if status.is_server_error() => Outcome::Failure,
            _ => Outcome::Success,
        };
        let verdict = Verdict::from(outcome).with_code(status.as_u16());
        match retry_after::asked(headers, Clock::wall) {
            Some(span) if outcome != Outcome::Success => verdict.with_retry_after(span),
            _ => verdict,
        }
    }
}

impl fmt::Debug for HttpCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCalls")
            .field("verdict", &self.verdict.is_some())
            .field("may_probe", &self.may_probe.is_some())
            .field("until", &self.until)
            .finish()
    }
}

impl<A, B: Body, E> Protocol<Request<A>, Response<B>, E> for HttpCalls {
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Response<Measured<B>>;
    type Error = Error<E>;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        let may_probe = match &self.may_probe {
            Some(may_probe) => may_probe(request.method(), request.uri()),
            // Only what may be repeated without harm probes (RFC 9110, 9.2.1).
            None => request.method().is_safe(),
        };
        Endpoint::at_path(request.uri().path(), may_probe)
    }

    fn finish(
        &self,
        mut ticket: Ticket,
        result: Result<Response<B>, E>,
    ) -> Result<Self::Response, Error<E>> {
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                ticket.settle(Outcome::Failure);
                return Err(Error::Inner(error));
            }
        };
        let (head, body) = response.into_parts();
        let verdict = match &self.verdict {
            Some(judge) => judge(head.status, &head.headers),
            None => Self::by_status(head.status, &head.headers),
        };
        let whole = match self.until {
            Until::BodyEnds => body.is_end_stream(),
            Until::HeadersCame => true,
        };
        // Only what looks good waits for the body: no body makes a 502 better.
        let body = if whole || verdict.outcome != Outcome::Success {
            ticket.settle(verdict);
            Measured::settled(body)
        } else {
            ticket.progress();
            Measured::new(body, ticket, verdict)
        };
        Ok(Response::from_parts(head, body))
    }

    fn refuse(&self, _: Request<A>, refused: Refused) -> Result<Self::Response, Error<E>> {
        Err(Error::Refused(refused))
    }

    fn unready(&self, error: E) -> Error<E> {
        Error::Inner(error)
    }
}
