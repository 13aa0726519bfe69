//! The view around an HTTP client: calls are judged by status and body, and a refusal is an error.

use std::{any::Any, fmt, sync::Arc};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;

use super::{
    answer_prefix::{AnswerPrefix, Gathering, JudgePrefix, MOST, ask, worse},
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
        fault,
        outcome::{Outcome, Verdict},
        refused::{Error, Refused},
    },
    http::method_class::by_head,
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
    /// Whether the answer to this call has no body by the rules of HTTP. Each call has its own.
    bodiless: bool,
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
    /// - **Neutral**: 401, 403 and 407, which concern our credentials; 429; a redirect, which is
    ///   any 3xx but 304; a body that its reader drops before the end.
    /// - **Success**: every other answer whose body comes to its end.
    ///
    /// A redirect is no evidence because a partner under maintenance often redirects every request
    /// to a page that says so. If redirects are this partner's usual answers, accept them by
    /// [`HttpCalls::judged_by`]. A client that follows redirects hides them from the layer: the
    /// page's own 200 is judged then, and [`HttpCalls::judged_by_json`] recognizes it as no JSON.
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
            bodiless: false,
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

    /// Returns the verdict on an error of the client whose fault is told.
    pub(super) fn told(&self, error: Option<&dyn Any>) -> Option<Verdict> {
        match self.options.as_deref() {
            Some(options) => options.errors.told(error),
            None => error.and_then(fault::of_any),
        }
    }

    #[inline]
    fn until(&self) -> Until {
        self.options
            .as_deref()
            .map_or(Until::default(), |options| options.until)
    }

    /// Judges the head of an answer by `verdict` instead of [`by_status`](Self::by_status).
    ///
    /// If it is called again, both judges are asked, and the [worse](Verdict::or_worse) verdict
    /// counts.
    #[must_use]
    pub fn judged_by(
        self,
        verdict: impl Fn(StatusCode, &HeaderMap) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| {
            options.verdict = Some(match options.verdict.take() {
                None => Arc::new(verdict),
                Some(before) => Arc::new(move |status, headers: &HeaderMap| {
                    before(status, headers).or_worse(verdict(status, headers))
                }),
            });
        })
    }

    /// Sets which requests may probe. Default: those that read. Called again, the last closure
    /// counts.
    #[must_use]
    pub fn may_probe(
        self,
        may_probe: impl Fn(&Method, &Uri) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.may_probe = Some(Arc::new(may_probe)))
    }

    /// Sets the class of a request: a [read-only hold](crate::Hold::read_only) lets reads pass.
    /// Default: requests with a safe method (GET, HEAD, OPTIONS, TRACE) read, all others write.
    /// Called again, the last closure counts.
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
    /// If there is more than one judge, by this method or by
    /// [`judged_by_json`](Self::judged_by_json), all of them are asked, and the
    /// [worst](Verdict::or_worse) verdict counts.
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
        self.with(|options| {
            options.body = Some(match options.body.take() {
                None => Arc::new(judge),
                Some(before) => Arc::new(move |answer| worse(before(answer), judge(answer))),
            });
        })
    }

    /// Judges an answer whose head is a success by values in its JSON, and by whether it is JSON:
    /// [`judged_by_body`](Self::judged_by_body) with a ready-made judge.
    ///
    /// An answer under 2xx that is [no JSON](JsonAnswer#an-answer-that-is-no-json) is a failure,
    /// such as a page that announces maintenance.
    ///
    /// ```
    /// use http::{HeaderMap, StatusCode};
    /// use tower_maintenance::{Outcome, http::{AnswerPrefix, HttpCalls, JsonAnswer}};
    ///
    /// let calls = HttpCalls::new()
    ///     .judged_by_json(JsonAnswer::new().failure_when("/success", false)?)
    ///     .judged_by_body(|answer| {
    ///         let is_stale = answer.headers().contains_key("warning");
    ///         is_stale.then_some(Outcome::Neutral.into())
    ///     });
    /// let headers = HeaderMap::new();
    /// let outcome = |body: &str| {
    ///     calls.judge(&AnswerPrefix::whole(StatusCode::OK, &headers, body.as_bytes())).outcome
    /// };
    /// assert_eq!(outcome(r#"{"success": true}"#), Outcome::Success);
    /// assert_eq!(outcome(r#"{"success": false}"#), Outcome::Failure);
    /// assert_eq!(outcome("<!doctype html><title>Maintenance</title>"), Outcome::Failure);
    /// # Ok::<(), tower_maintenance::http::PointerError>(())
    /// ```
    #[must_use]
    pub fn judged_by_json(self, judge: JsonAnswer) -> Self {
        self.judged_by_body(move |answer| judge.judge(answer))
    }

    /// Sets the largest number of bytes of a body that its judge sees, from 1 to 65 536.
    /// Default: 65 536. A number outside the range is replaced by the nearest one in it. Called
    /// again, the last number counts. Without a judge of bodies it has no effect.
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
    /// server-sent events and long polling: on such a stream silence is no hang.
    ///
    /// If there is a judge of bodies too, in either order, the verdict comes as soon as the judge
    /// has seen its prefix or the end of the body, also if it is a success. Until then silence is
    /// no hang, and a body that is dropped is neutral. For a stream without end set a prefix that
    /// its first event fills: [`with_body_prefix`](Self::with_body_prefix).
    #[must_use]
    pub fn judged_at_headers(self) -> Self {
        self.with(|options| options.until = Until::HeadersCame)
    }

    /// Says by `judge` whose fault an error is: an [`Origin`](crate::Origin), an [`Outcome`] or a
    /// [`Verdict`], or `None` if it does not know. What it leaves open is told by the error's
    /// [type](crate::fault), or else is the partner's failure. Default: no closure.
    ///
    /// `judge` gets the errors of the client that have its parameter's type, in a view that opens
    /// errors: [`nested`](crate::MaintenanceLayer::nested) for a client with an error type of its
    /// own, or [boxed](Self::boxed), where they are [`BoxError`](tower::BoxError)s. If it is called
    /// again, both closures are asked in that order, and the first answer counts. If errors come
    /// and no closure takes them, one warning is traced. A panic in `judge` makes the call neutral
    /// and goes on to the caller. An error of an answer's body is the partner's failure.
    ///
    /// `guide::errors` has the closures for some clients.
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
        self.told(Some(error)).unwrap_or(Outcome::Failure.into())
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
    /// | status | outcome | why |
    /// |---|---|---|
    /// | 408, 5xx | failure | the partner did not answer in time, or failed |
    /// | 401, 403, 407 | neutral | our credentials, at the partner or at a proxy |
    /// | 429 | neutral | our rate |
    /// | 3xx but 304 | neutral | a redirect, perhaps to a maintenance page |
    /// | every other | success | the partner answered, with a yes or a no |
    ///
    /// If the answer is no success, the verdict has the wait that the partner asks for:
    /// [`retry_after`](crate::http::retry_after()), by the wall clock of this machine where a date
    /// needs a clock.
    #[must_use]
    pub fn by_status(status: StatusCode, headers: &HeaderMap) -> Verdict {
        let outcome = match status {
            StatusCode::REQUEST_TIMEOUT => Outcome::Failure,
            // These concern our credentials and our rate. They do not say that the partner is down.
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::TOO_MANY_REQUESTS => Outcome::Neutral,
            // The partner knows the version that we have: it read the request.
            StatusCode::NOT_MODIFIED => Outcome::Success,
            // Perhaps to a maintenance page.
            status if status.is_redirection() => Outcome::Neutral,
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
            .field(
                "errors",
                &self.options.as_deref().map(|options| &options.errors),
            )
            .field("until", &self.until())
            .finish()
    }
}

impl HttpCalls {
    pub(super) fn endpoint<'r, A>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        let (method, uri) = (request.method(), request.uri());
        let class = match self.given(|options| &options.class) {
            Some(class) => class(method, uri),
            None => by_head(request),
        };
        let may_probe = match self.given(|options| &options.may_probe) {
            Some(may_probe) => may_probe(method, uri),
            // Only a request that is safe to repeat may probe (RFC 9110, 9.2.1).
            None => class == Class::Read,
        };
        Endpoint::at_path(uri.path(), may_probe)
            .with_class(class)
            .with_request(request)
    }

    /// Returns the protocol of one call. An answer to HEAD has the headers of a body and no body.
    pub(super) fn of_call<A>(&self, request: &Request<A>) -> Self {
        let mut calls = self.clone();
        if calls.options.is_some() {
            calls.bodiless = matches!(*request.method(), Method::HEAD | Method::CONNECT);
        }
        calls
    }

    /// Settles the ticket of an answer, or moves the ticket into the body.
    pub(super) fn answered<B: Body>(
        &self,
        mut ticket: Ticket,
        response: Response<B>,
    ) -> Response<CallBody<B>> {
        if !ticket.is_measured() {
            return response.map(CallBody::settled);
        }
        // Another layer inside the stack refused it, in this process: no header can say so.
        if let Some(refused) = response.extensions().get::<Refused>() {
            ticket.settle_refused(refused);
            return response.map(CallBody::settled);
        }
        let (head, body) = response.into_parts();
        let judge = self.given(|options| &options.body);
        let at_headers = matches!(self.until(), Until::HeadersCame);
        let ended = body.is_end_stream();
        let mut verdict = self.judge_head(head.status, &head.headers);
        if let (Some(judge), true, Outcome::Success) =
            (judge, ended || self.bodiless, verdict.outcome)
        {
            let answer = match self.bodiless {
                true => AnswerPrefix::cut(head.status, &head.headers, &[]),
                false => AnswerPrefix::whole(head.status, &head.headers, &[]),
            };
            verdict = ask(&**judge, &answer).unwrap_or(verdict);
        }
        let judge = judge.filter(|_| !self.bodiless);
        // Only a good head waits for the body: no body turns a 502 into a success.
        let settled = ended || (at_headers && judge.is_none());
        let body = if settled || verdict.outcome != Outcome::Success {
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
            let beginning = Beginning::new(verdict, gathering, at_headers);
            CallBody::new(body, ticket, beginning)
        };
        Response::from_parts(head, body)
    }
}

impl<A, B, E> Protocol<Request<A>, Response<B>, E> for HttpCalls
where
    B: Body,
{
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Response<CallBody<B>>;
    type Error = Error<E>;

    fn for_call(&self, request: &Request<A>) -> Self {
        self.of_call(request)
    }

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
                ticket.settle(Outcome::Failure);
                Err(Error::Inner(error))
            }
        }
    }

    fn refuse(&self, _: Request<A>, refused: Refused) -> Result<Self::Response, Error<E>> {
        Err(Error::Refused(refused))
    }

    fn judge_error(&self, _: &E, any: Option<&dyn Any>) -> Option<Verdict> {
        self.told(any)
    }

    fn unready(&self, error: E) -> Error<E> {
        Error::Inner(error)
    }
}
