//! The view around an HTTP client: calls are judged by status and body, and a refusal is an error.

use std::{fmt, sync::Arc};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;

use super::{
    answer_prefix::{AnswerPrefix, Gathering, JudgePrefix, MOST, ask},
    body::{Beginning, CallBody},
    json_answer::JsonAnswer,
    judged_errors::JudgedErrors,
    retry_after,
};
use crate::{
    base::clock::Clock,
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Class, Endpoint, Placement},
        outcome::{Outcome, Verdict},
        refused::{Error, Refused},
    },
    http::method_class::by_method,
    layer::MaintenanceLayer,
};

/// The protocol of calls through an HTTP client, and its options.
///
/// [`MaintenanceLayer::http_calls`](crate::MaintenanceLayer::http_calls) lists which answers are
/// failures. A layer takes options by [`with_protocol`](crate::MaintenanceLayer::with_protocol):
///
/// ```
/// use tower_maintenance::{MaintenanceLayer, Outcome, http::HttpCalls};
///
/// let calls = HttpCalls::new()
///     .judged_by(|status, _headers| match status.as_u16() {
///         404 => Outcome::Failure.into(), // for this partner a missing invoice is a failure
///         _ => HttpCalls::by_status(status, _headers),
///     })
///     .may_probe(|method, uri| method.is_safe() || uri.path() == "/v1/ping")
///     .judged_at_headers();
/// let view = MaintenanceLayer::new("zuora").with_protocol(calls);
/// # let _ = view;
/// ```
#[derive(Clone, Default)]
pub struct HttpCalls {
    /// `None` for the defaults: a protocol is cloned once per call, and the clone copies nothing
    /// then.
    options: Option<Arc<Options>>,
}

#[derive(Clone, Default)]
struct Options {
    verdict: Option<Arc<JudgeHead>>,
    may_probe: Option<Arc<JudgeProbe>>,
    class: Option<Arc<JudgeClass>>,
    body: Option<Arc<JudgePrefix>>,
    /// The number of bytes of a body that its judge sees. `None` stands for [`MOST`].
    prefix: Option<usize>,
    errors: JudgedErrors,
    until: Until,
}

type JudgeHead = dyn Fn(StatusCode, &HeaderMap) -> Verdict + Send + Sync;
type JudgeProbe = dyn Fn(&Method, &Uri) -> bool + Send + Sync;
type JudgeClass = dyn Fn(&Method, &Uri) -> Class + Send + Sync;

/// The moment at which an answer with a good head is a success.
#[derive(Debug, Clone, Copy, Default)]
enum Until {
    #[default]
    BodyEnds,
    HeadersCame,
}

impl<P> MaintenanceLayer<P> {
    /// Returns a view around an HTTP client. A refusal is an error.
    ///
    /// A call is judged by the status, and by whether the body comes to its end:
    ///
    /// - **Failure**: an error of the client (connection, timeout), unless it is
    ///   [ours](crate::fault); the status 408 or 5xx; a body that breaks off; a body that hangs,
    ///   which means that its reader waits and no frame comes for `hang_limit`.
    /// - **Neutral**: 401 and 403, which concern our credentials; 429; a body that its reader drops
    ///   before the end.
    /// - **Success**: every other answer whose body comes to its end.
    ///
    /// If an answer is no success, its `Retry-After` and an exhausted `RateLimit` set the shortest
    /// wait: see [`retry_after`](crate::http::retry_after()). The content of a body counts only if
    /// asked for, for partners that fail with a 200: [`HttpCalls::judged_by_json`]. Requests with a
    /// safe method (GET, HEAD, OPTIONS, TRACE) may probe, and pass under a read-only hold.
    /// [`HttpCalls`] has the options.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::Empty;
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_maintenance::MaintenanceLayer;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// let handle = layer.handle();
    /// // In production this is the `Client` of hyper-util. Here it is a partner that is down.
    /// let client = service_fn(async |_: Request<Empty<&[u8]>>| {
    ///     let answer = Response::builder().status(502);
    ///     answer.body(Empty::<&[u8]>::new()).map_err(std::io::Error::other)
    /// });
    /// let mut partner = ServiceBuilder::new().layer(layer.http_calls()).service(client);
    ///
    /// let answer = partner.ready().await?.call(Request::new(Empty::new())).await?;
    /// assert_eq!(answer.status(), 502);
    /// assert_eq!(handle.status().window.failed, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn http_calls(&self) -> MaintenanceLayer<HttpCalls> {
        self.view(HttpCalls::new())
    }
}

impl HttpCalls {
    /// Returns the defaults: a call is judged by its status, and by whether its body comes to its
    /// end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with(self, set: impl FnOnce(&mut Options)) -> Self {
        let mut options = self.options.map(Arc::unwrap_or_clone).unwrap_or_default();
        set(&mut options);
        Self {
            options: Some(Arc::new(options)),
        }
    }

    /// Returns an option, if it was set.
    #[inline]
    fn given<T>(&self, option: impl FnOnce(&Options) -> &Option<T>) -> Option<&T> {
        self.options
            .as_deref()
            .and_then(|options| option(options).as_ref())
    }

    #[inline]
    fn prefix(&self) -> usize {
        *self.given(|options| &options.prefix).unwrap_or(&MOST)
    }

    fn errors(&self) -> JudgedErrors {
        let options = self.options.as_deref();
        options
            .map(|options| options.errors.clone())
            .unwrap_or_default()
    }

    #[inline]
    fn until(&self) -> Until {
        self.options
            .as_deref()
            .map_or(Until::default(), |options| options.until)
    }

    /// Judges the head of an answer by `verdict` instead of [`by_status`](Self::by_status).
    #[must_use]
    pub fn judged_by(
        self,
        verdict: impl Fn(StatusCode, &HeaderMap) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.verdict = Some(Arc::new(verdict)))
    }

    /// Sets which requests may probe. Default: those that read.
    #[must_use]
    pub fn may_probe(
        self,
        may_probe: impl Fn(&Method, &Uri) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.may_probe = Some(Arc::new(may_probe)))
    }

    /// Sets the class of a request: a [read-only hold](crate::Hold::read_only) lets reads pass.
    /// Default: requests with a safe method (GET, HEAD, OPTIONS, TRACE) read, all others write.
    ///
    /// ```
    /// use tower_maintenance::{Class, http::HttpCalls};
    ///
    /// let calls = HttpCalls::new().classed_by(|method, uri| match uri.path() {
    ///     "/v1/query" => Class::Read, // a POST that reads
    ///     _ if method.is_safe() => Class::Read,
    ///     _ => Class::Write,
    /// });
    /// # let _ = calls;
    /// ```
    #[must_use]
    pub fn classed_by(
        self,
        class: impl Fn(&Method, &Uri) -> Class + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.class = Some(Arc::new(class)))
    }

    /// Judges an answer whose head is a success by the beginning of its body, for partners that
    /// fail with a 200. Default: the content of a body is not read.
    ///
    /// The judge runs once: at the end of the body, or when
    /// [`with_body_prefix`](Self::with_body_prefix) bytes have come (64 KiB by default). If it
    /// returns `None`, the head decides. A failure counts at once; a success still waits for the
    /// end of the body. A verdict without a code takes the status. A verdict that is no success and
    /// has no `Retry-After` takes that of the answer.
    ///
    /// The reader gets every frame when it comes. The judge sees a copy, which is made when the
    /// frame passes; the headers are copied too. The judge does not run for a body that breaks off,
    /// hangs, or is dropped before. A panic in the judge reaches the reader and makes the call
    /// neutral. The frames that follow still pass.
    ///
    /// ```
    /// use tower_maintenance::{Outcome, http::{AnswerPrefix, HttpCalls}};
    ///
    /// // This partner sends every page with a 200, also the page that announces its maintenance.
    /// let calls = HttpCalls::new().judged_by_body(|answer: &AnswerPrefix<'_>| {
    ///     let is_page = answer.bytes().starts_with(b"<!doctype html>");
    ///     is_page.then_some(Outcome::Failure.into())
    /// });
    /// # let _ = calls;
    /// ```
    #[must_use]
    pub fn judged_by_body(
        self,
        judge: impl Fn(&AnswerPrefix<'_>) -> Option<Verdict> + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.body = Some(Arc::new(judge)))
    }

    /// Judges an answer whose head is a success by values in its JSON:
    /// [`judged_by_body`](Self::judged_by_body) with a ready-made judge.
    #[must_use]
    pub fn judged_by_json(self, judge: JsonAnswer) -> Self {
        self.judged_by_body(move |answer| judge.judge(answer))
    }

    /// Sets the largest number of bytes of a body that its judge sees, from 1 to 65 536.
    /// Default: 65 536. A number outside the range is replaced by the nearest one in it.
    ///
    /// A call that is judged by its body takes up to this much memory while its answer streams.
    #[must_use]
    pub fn with_body_prefix(self, bytes: usize) -> Self {
        self.with(|options| options.prefix = Some(bytes.clamp(1, MOST)))
    }

    /// Gives the verdict when the headers have come, and does not measure the body.
    /// Default: the verdict waits for the body, and a body that is not read to its end is neutral.
    ///
    /// It is for callers that never read the body, and for answers that stream without end, such as
    /// server-sent events and long polling: on such a stream silence is no hang. A judge of bodies
    /// does not run then.
    #[must_use]
    pub fn judged_at_headers(self) -> Self {
        self.with(|options| options.until = Until::HeadersCame)
    }

    /// Says by `judge` whose fault an error is: an [`Origin`](crate::Origin), an [`Outcome`] or a
    /// [`Verdict`], or `None` if it does not know. What it leaves open is told by the error's
    /// [type](crate::fault), or else is the partner's failure. Default: no closure.
    ///
    /// `judge` gets the errors of the client that have its parameter's type, and the errors of
    /// answers' bodies that have it. If it is called again, both closures are asked in that order,
    /// and the first answer counts. In a [boxed](Self::boxed) view the errors are
    /// [`BoxError`](tower::BoxError)s. If errors come and no closure takes their type, one warning
    /// is traced. A panic in `judge` makes the call neutral and goes on to the caller.
    ///
    /// A client with an error type of its own, such as reqwest, needs a closure for what the type
    /// would tell, too. [`guide::errors`](crate::guide::errors) has the closures for some clients.
    ///
    /// ```
    /// use tower::BoxError;
    /// use tower_maintenance::{Origin, fault, http::HttpCalls};
    ///
    /// #[derive(Debug, thiserror::Error)]
    /// #[error("the token for the partner has run out")]
    /// struct NoToken;
    ///
    /// let calls = HttpCalls::new().judged_errors(|error: &BoxError| {
    ///     fault::find::<NoToken>(&**error).map(|_| Origin::Ourselves)
    /// });
    /// let boxed: BoxError = NoToken.into();
    /// assert_eq!(calls.judge_error(&boxed).origin, Origin::Ourselves);
    /// ```
    #[must_use]
    pub fn judged_errors<E: 'static, V: Into<Verdict>>(
        self,
        judge: impl Fn(&E) -> Option<V> + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.errors = std::mem::take(&mut options.errors).and(judge))
    }

    /// Judges an error of the client by the same rules as calls. It is for your own
    /// [pings](crate::MaintenanceHandle::ping).
    #[must_use]
    pub fn judge_error<E: 'static>(&self, error: &E) -> Verdict {
        match self.options.as_deref() {
            Some(options) => options.errors.verdict(error),
            None => JudgedErrors::default().verdict(error),
        }
    }

    /// Judges an answer and the beginning of its body by the same rules as calls.
    ///
    /// It is for your own [pings](crate::MaintenanceHandle::ping), so that a ping does not pass by
    /// rules that are laxer than those for calls.
    #[must_use]
    pub fn judge(&self, answer: &AnswerPrefix<'_>) -> Verdict {
        let verdict = self.judge_head(answer.status(), answer.headers());
        match self.given(|options| &options.body) {
            Some(judge) if verdict.outcome == Outcome::Success => {
                ask(&**judge, answer).unwrap_or(verdict)
            }
            _ => verdict,
        }
    }

    fn judge_head(&self, status: StatusCode, headers: &HeaderMap) -> Verdict {
        match self.given(|options| &options.verdict) {
            Some(judge) => judge(status, headers),
            None => Self::by_status(status, headers),
        }
    }

    /// Judges the head of an answer by the default rules.
    ///
    /// If the answer is no success, the verdict has the wait that the partner asks for:
    /// [`retry_after`](crate::http::retry_after()), by the wall clock of this machine where a date
    /// needs a clock.
    #[must_use]
    pub fn by_status(status: StatusCode, headers: &HeaderMap) -> Verdict {
        let outcome = match status {
            StatusCode::REQUEST_TIMEOUT => Outcome::Failure,
            // These concern our credentials and our rate. They do not say that the partner is down.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                Outcome::Neutral
            }
            status if status.is_server_error() => Outcome::Failure,
            _ => Outcome::Success,
        };
        let verdict = Verdict::from(outcome).with_code(status.as_u16());
        // Not for a success: the search for a header costs more than the rest of the judgement.
        if outcome == Outcome::Success {
            return verdict;
        }
        match retry_after::asked(headers, Clock::wall) {
            Some(span) => verdict.with_retry_after(span),
            None => verdict,
        }
    }
}

impl fmt::Debug for HttpCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCalls")
            .field("verdict", &self.given(|options| &options.verdict).is_some())
            .field(
                "may_probe",
                &self.given(|options| &options.may_probe).is_some(),
            )
            .field("class", &self.given(|options| &options.class).is_some())
            .field("body", &self.given(|options| &options.body).is_some())
            .field("prefix", &self.prefix())
            .field("errors", &self.errors())
            .field("until", &self.until())
            .finish()
    }
}

impl HttpCalls {
    pub(super) fn endpoint<'r, A>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        let (method, uri) = (request.method(), request.uri());
        let class = match self.given(|options| &options.class) {
            Some(class) => class(method, uri),
            None => by_method(method),
        };
        let may_probe = match self.given(|options| &options.may_probe) {
            Some(may_probe) => may_probe(method, uri),
            // Only a request that is safe to repeat may probe (RFC 9110, 9.2.1).
            None => class == Class::Read,
        };
        Endpoint::at_path(uri.path(), may_probe).with_class(class)
    }

    /// Settles the ticket of an answer, or moves the ticket into the body.
    pub(super) fn answered<B: Body<Error: 'static>>(
        &self,
        mut ticket: Ticket,
        response: Response<B>,
    ) -> Response<CallBody<B>> {
        if !ticket.is_measured() {
            return response.map(CallBody::settled);
        }
        // A refusal by another layer inside the stack is no failure of this partner.
        if response.extensions().get::<Refused>().is_some() {
            ticket.settle(Outcome::Neutral);
            return response.map(CallBody::settled);
        }
        let (head, body) = response.into_parts();
        let (judge, whole) = match self.until() {
            Until::BodyEnds => (self.given(|options| &options.body), body.is_end_stream()),
            Until::HeadersCame => (None, true),
        };
        let mut verdict = self.judge_head(head.status, &head.headers);
        if let (Some(judge), true, Outcome::Success) = (judge, whole, verdict.outcome) {
            let answer = AnswerPrefix::whole(head.status, &head.headers, &[]);
            verdict = ask(&**judge, &answer).unwrap_or(verdict);
        }
        // Only a good head waits for the body: no body turns a 502 into a success.
        let body = if whole || verdict.outcome != Outcome::Success {
            ticket.settle(verdict);
            CallBody::settled(body)
        } else {
            ticket.progress();
            let gathering = judge.map(|judge| {
                Gathering::new(
                    judge.clone(),
                    head.status,
                    head.headers.clone(),
                    self.prefix(),
                    body.size_hint().exact(),
                )
            });
            CallBody::new(
                body,
                ticket,
                Beginning::new(verdict, gathering, self.errors()),
            )
        };
        Response::from_parts(head, body)
    }
}

impl<A, B, E> Protocol<Request<A>, Response<B>, E> for HttpCalls
where
    B: Body<Error: 'static>,
    E: 'static,
{
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Response<CallBody<B>>;
    type Error = Error<E>;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        self.endpoint(request)
    }

    fn finish(
        &self,
        ticket: Ticket,
        result: Result<Response<B>, E>,
    ) -> Result<Self::Response, Error<E>> {
        match result {
            Ok(response) => Ok(self.answered(ticket, response)),
            Err(error) => {
                if ticket.is_measured() {
                    ticket.settle(self.judge_error(&error));
                }
                Err(Error::Inner(error))
            }
        }
    }

    fn refuse(&self, _: Request<A>, refused: Refused) -> Result<Self::Response, Error<E>> {
        Err(Error::Refused(refused))
    }

    fn judge_unready(&self, error: &E) -> Verdict {
        self.judge_error(error)
    }

    fn unready(&self, error: E) -> Error<E> {
        Error::Inner(error)
    }
}
