//! Around an HTTP client: judged by status and body, refused by error; one form for any error, one for `BoxError`.

use std::{fmt, sync::Arc};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;

use tower::BoxError;

pub(crate) mod answer_prefix;
pub(crate) mod body;
pub(crate) mod json_answer;
pub(crate) mod retry_after;
pub(crate) mod streamed;

use self::{
    answer_prefix::{AnswerPrefix, Gathering, JudgePrefix, MOST, ask},
    body::Measured,
    json_answer::JsonAnswer,
};
use super::routes::route_classes::by_method;
use crate::{
    base::clock::Clock,
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Class, Endpoint, Placement},
        outcome::{Outcome, Verdict},
        refused::{Error, Refused},
    },
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
    /// Only if they are not the defaults: a protocol is cloned once a call.
    options: Option<Arc<Options>>,
}

#[derive(Clone, Default)]
struct Options {
    verdict: Option<Arc<JudgeHead>>,
    may_probe: Option<Arc<JudgeProbe>>,
    class: Option<Arc<JudgeClass>>,
    body: Option<Arc<JudgePrefix>>,
    /// How much of a body its judge is shown; without a number, [`MOST`].
    prefix: Option<usize>,
    until: Until,
}

/// [`HttpCalls`] in stacks whose errors are [`BoxError`], those with a timeout inside for instance: a
/// refusal is found by [`Refused::find`].
///
/// Made by [`boxed`](crate::MaintenanceLayer::boxed). A refusal that comes up from *within* the stack (another layer's) is
/// no failure of this partner, and neutral.
#[derive(Debug, Clone, Default)]
pub struct BoxedHttpCalls(HttpCalls);

type JudgeHead = dyn Fn(StatusCode, &HeaderMap) -> Verdict + Send + Sync;
type JudgeProbe = dyn Fn(&Method, &Uri) -> bool + Send + Sync;
type JudgeClass = dyn Fn(&Method, &Uri) -> Class + Send + Sync;

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

    fn with(self, set: impl FnOnce(&mut Options)) -> Self {
        let mut options = self.options.map(Arc::unwrap_or_clone).unwrap_or_default();
        set(&mut options);
        Self {
            options: Some(Arc::new(options)),
        }
    }

    /// What was given for an option, if it was.
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

    /// Says which requests may probe. Default: those that read.
    #[must_use]
    pub fn may_probe(
        self,
        may_probe: impl Fn(&Method, &Uri) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.may_probe = Some(Arc::new(may_probe)))
    }

    /// Says what requests do to the partner; a [read-only hold](crate::Hold::read_only) lets reads pass. Default:
    /// those with a safe method (GET, HEAD, OPTIONS, TRACE) read, all others write.
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

    /// Judges answers whose status looks like a success by the beginning of their bodies, for partners that fail with
    /// a 200. Default: what a body says is not looked at.
    ///
    /// The judge is asked once, at the end of the body or when it has come as far as
    /// [`with_body_prefix`](Self::with_body_prefix), 64 KiB by default. `None` leaves it to the status. A success waits
    /// for the end of the body all the same, a failure counts at once. A verdict without a code gets
    /// the status; one that is no success gets the answer's `Retry-After`, if it brings none.
    ///
    /// The reader gets every frame as it comes: the judge sees a copy, made on the way (with the headers, which are copied
    /// too). It is not asked about a body that breaks off, hangs, or is dropped before. A panic in it
    /// reaches the reader, and the call is neutral; the frames that follow still pass.
    ///
    /// ```
    /// use tower_maintenance::{Outcome, http::{AnswerPrefix, HttpCalls}};
    ///
    /// // This one answers every page with a 200, that of its maintenance too.
    /// let calls = HttpCalls::new().judged_by_body(|answer: &AnswerPrefix<'_>| {
    ///     answer.bytes().starts_with(b"<!doctype html>").then_some(Outcome::Failure.into())
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

    /// Judges answers whose status looks like a success by what their JSON says: [`judged_by_body`](Self::judged_by_body)
    /// with a ready-made judge.
    #[must_use]
    pub fn judged_by_json(self, judge: JsonAnswer) -> Self {
        self.judged_by_body(move |answer| judge.judge(answer))
    }

    /// How many bytes of a body its judge is shown at most. Default: 65 536, which is also the most; what
    /// is above it, or 0, is taken for the nearest that is allowed.
    ///
    /// So much memory a call may take while its answer streams, if it is judged by its body.
    #[must_use]
    pub fn with_body_prefix(self, bytes: usize) -> Self {
        self.with(|options| options.prefix = Some(bytes.clamp(1, MOST)))
    }

    /// Gives the verdict at the headers and leaves the body alone, for callers who never read it and for answers that
    /// stream for ever: server-sent events, long polling. On such a stream silence is no hang.
    /// Default: headers are provisional, and a body that nobody reads to its end is neutral.
    ///
    /// A judge of bodies is not asked then.
    #[must_use]
    pub fn judged_at_headers(self) -> Self {
        self.with(|options| options.until = Until::HeadersCame)
    }

    /// The same for stacks whose errors are `BoxError`.
    #[must_use]
    pub fn boxed(self) -> BoxedHttpCalls {
        BoxedHttpCalls(self)
    }

    /// The judgement of an answer and the beginning of its body, as calls are judged: for
    /// [pings](crate::MaintenanceHandle::ping) of your own, so that a partner is not taken for well by another measure.
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
        // A success is not even asked: looking for a header costs more than the rest of the judgement.
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
            .field("until", &self.until())
            .finish()
    }
}

impl HttpCalls {
    fn endpoint<'r, A>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        let (method, uri) = (request.method(), request.uri());
        let class = match self.given(|options| &options.class) {
            Some(class) => class(method, uri),
            None => by_method(method),
        };
        let may_probe = match self.given(|options| &options.may_probe) {
            Some(may_probe) => may_probe(method, uri),
            // Only what may be repeated without harm probes (RFC 9110, 9.2.1).
            None => class == Class::Read,
        };
        Endpoint::at_path(uri.path(), may_probe).with_class(class)
    }

    /// Settles the ticket of an answer, or moves it into its body.
    fn answered<B: Body>(
        &self,
        mut ticket: Ticket,
        response: Response<B>,
    ) -> Response<Measured<B>> {
        if !ticket.is_measured() {
            return response.map(Measured::settled);
        }
        // Another layer's refusal from within the stack is no failure of this partner.
        if response.extensions().get::<Refused>().is_some() {
            ticket.settle(Outcome::Neutral);
            return response.map(Measured::settled);
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
        // Only what looks good waits for the body: no body makes a 502 better.
        let body = if whole || verdict.outcome != Outcome::Success {
            ticket.settle(verdict);
            Measured::settled(body)
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
            Measured::new(body, ticket, verdict, gathering)
        };
        Response::from_parts(head, body)
    }
}

impl<A, B: Body, E> Protocol<Request<A>, Response<B>, E> for HttpCalls {
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Response<Measured<B>>;
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
                ticket.settle(Outcome::Failure);
                Err(Error::Inner(error))
            }
        }
    }

    fn refuse(&self, _: Request<A>, refused: Refused) -> Result<Self::Response, Error<E>> {
        Err(Error::Refused(refused))
    }

    fn unready(&self, error: E) -> Error<E> {
        Error::Inner(error)
    }
}

impl<A, B, E> Protocol<Request<A>, Response<B>, E> for BoxedHttpCalls
where
    B: Body,
    E: Into<BoxError>,
{
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Response<Measured<B>>;
    type Error = BoxError;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        self.0.endpoint(request)
    }

    fn finish(
        &self,
        ticket: Ticket,
        result: Result<Response<B>, E>,
    ) -> Result<Self::Response, BoxError> {
        match result {
            Ok(response) => Ok(self.0.answered(ticket, response)),
            Err(error) => {
                let error = error.into();
                ticket.settle(match Refused::find(&*error) {
                    Some(_) => Outcome::Neutral,
                    None => Outcome::Failure,
                });
                Err(error)
            }
        }
    }

    fn refuse(&self, _: Request<A>, refused: Refused) -> Result<Self::Response, BoxError> {
        Err(refused.into())
    }

    fn unready(&self, error: E) -> BoxError {
        error.into()
    }
}
