//! The view around a gRPC client: judges by `grpc-status` and refuses with an answer.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;

use super::{
    Code,
    body::{Answer, GrpcCallBody, Silence},
    first_message::FirstMessage,
    judge::{JudgeStatus, by_code},
    methods::{Methods, Setting, Stream, sets_methods},
    refusal::{DelayError, Longest},
    web, wire,
};
use crate::{
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Class, Endpoint, Placement},
        outcome::{Outcome, Verdict},
        refused::Refused,
    },
    http::{HttpCalls, calls::judged_errors::JudgedErrors},
};

/// The protocol around a gRPC client.
///
/// [`MaintenanceLayer::grpc_calls`](crate::MaintenanceLayer::grpc_calls) says which answer is which
/// outcome. To set an option, give the protocol to the layer by
/// [`with_protocol`](crate::MaintenanceLayer::with_protocol):
///
/// ```
/// use tower_maintenance::{MaintenanceLayer, Outcome, grpc::{Code, GrpcCalls}};
///
/// let calls = GrpcCalls::new()
///     .reads(["/billing.v1.Billing/GetPrices", "/billing.v1.Billing/WatchPrices"])?
///     .streams(["/billing.v1.Billing/WatchPrices"])? // judged at its first message
///     .never(["/billing.v1.Billing/SettleYear"])? // passes in `Serving` only
///     .judged_by(|code, metadata| match code {
///         // This partner aborts when its database is gone.
///         Code::Aborted => Outcome::Failure.into(),
///         _ => GrpcCalls::by_code(code, metadata),
///     });
/// let view = MaintenanceLayer::new("zuora").with_protocol(calls);
/// # let _ = view;
/// # Ok::<(), tower_maintenance::grpc::MethodError>(())
/// ```
#[derive(Clone, Default)]
pub struct GrpcCalls {
    judge: JudgeStatus,
    errors: JudgedErrors,
    methods: Methods,
    may_probe: Option<Arc<JudgeProbe>>,
    longest: Longest,
    until: Until,
}

/// When an answer that looks good counts as a success. Each call has its own, set by its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Until {
    #[default]
    TrailersCame,
    FirstMessageCame(Silence),
}

type JudgeProbe = dyn Fn(&str) -> bool + Send + Sync;

impl GrpcCalls {
    /// Returns the defaults: calls are judged by [`by_code`](Self::by_code), and no method may
    /// probe.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    sets_methods! {
        /// Adds methods that only read, written as `/package.Service/Method`. Default: none.
        ///
        /// They may probe, and they pass under a [read-only hold](crate::Hold::read_only). The
        /// layer cannot find them by itself: gRPC sends every call by POST, so nothing on the wire
        /// tells a read from a charge.
        ///
        /// # Errors
        ///
        /// If a name has another form, or the method also stands in [`never`](Self::never). The
        /// error names the method.
        reads: Setting::Class(Class::Read)
    }

    sets_methods! {
        /// Adds methods that pass in `Serving` only ([`Class::Never`]), written as
        /// `/package.Service/Method`. Default: none.
        ///
        /// A yearly settlement, for example, should not be the call that proves that the partner is
        /// back.
        ///
        /// # Errors
        ///
        /// If a name has another form, or the method also stands in [`reads`](Self::reads). The
        /// error names the method.
        never: Setting::Class(Class::Never)
    }

    /// Sets which calls may probe, by their path. Default: those of the methods that
    /// [read](Self::reads). Called again, the last closure counts.
    ///
    /// This changes no class. A call that may probe and does not read is refused under a read-only
    /// hold. A method of [`never`](Self::never) does not probe either.
    #[must_use]
    pub fn may_probe(self, may_probe: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self {
            may_probe: Some(Arc::new(may_probe)),
            ..self
        }
    }

    sets_methods! {
        /// Adds methods whose answers are long streams, such as a `Watch`, written as
        /// `/package.Service/Method`. Default: none, so every call is judged at its trailers.
        ///
        /// A call of such a method is judged at its first message:
        ///
        /// | the call | outcome |
        /// |---|---|
        /// | brings its whole first message | a success; its probe slot is free again |
        /// | brings a status before that | what the status says |
        /// | ends without a status, breaks off, or hangs before that | a failure |
        /// | is dropped before that | as [any other](GrpcCallBody): by the partner's silence |
        ///
        /// After the first message nothing of the call counts: not its silence, not its drop, not
        /// its end. Otherwise a `Watch` that has nothing to tell would count as hanging after
        /// `hang_limit`, and a restart of a healthy partner would count one failure per open
        /// stream. The layer still learns of a partner that went down, because its clients open
        /// their streams again, and each of these is another call.
        ///
        /// A stream that may be silent *before* its first message is a
        /// [subscription](Self::subscriptions).
        ///
        /// # Errors
        ///
        /// If a name has another form, or the method is also a subscription. The error names the
        /// method.
        streams: Setting::Stream(Stream::Speaks)
    }

    sets_methods! {
        /// Adds methods whose answers may be silent from their start, such as a subscription to
        /// rare events, written as `/package.Service/Method`. Default: none.
        ///
        /// A call of such a method is judged as one that [streams](Self::streams), except that its
        /// silence says nothing:
        ///
        /// | the call, after its head | outcome |
        /// |---|---|
        /// | brings its whole first message | a success, at that moment |
        /// | brings a status before that | what the status says |
        /// | ends without a status, or breaks off before that | a failure |
        /// | is silent | none: the call stays in flight |
        /// | is dropped before that | neutral |
        ///
        /// The layer cannot tell such a stream from a partner that accepts every call and does
        /// nothing. So it sees no hang in these methods: a hang must show in other methods. Until
        /// its head comes, the call is judged as any other.
        ///
        /// These methods do not probe, even if they read, unless [`may_probe`](Self::may_probe)
        /// says so: such a probe would hold its slot until its lease ends. A [slow-call
        /// rule](crate::Policy::with_slow_calls) measures the time until the first message.
        ///
        /// ```
        /// use tower_maintenance::grpc::GrpcCalls;
        ///
        /// let calls = GrpcCalls::new().subscriptions(["/billing.v1.Billing/WatchDisputes"])?;
        /// let error = calls.streams(["/billing.v1.Billing/WatchDisputes"]).unwrap_err();
        /// assert_eq!(
        ///     error.to_string(),
        ///     "the method `/billing.v1.Billing/WatchDisputes` is both a stream \
        ///      and a subscription: give it one",
        /// );
        /// # Ok::<(), tower_maintenance::grpc::MethodError>(())
        /// ```
        ///
        /// # Errors
        ///
        /// If a name has another form, or the method is also one that streams. The error names the
        /// method.
        subscriptions: Setting::Stream(Stream::MayBeSilent)
    }

    /// Judges a status by `verdict` instead of [`by_code`](Self::by_code).
    ///
    /// `verdict` gets the code, and the headers (Trailers-Only) or trailers that it came with. If
    /// it panics, the call is neutral and the panic goes on to the caller.
    ///
    /// If this is called again, both judges are asked, and the [worse](Verdict::or_worse) verdict
    /// counts.
    #[must_use]
    pub fn judged_by(
        self,
        verdict: impl Fn(Code, &HeaderMap) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self {
            judge: self.judge.and(verdict),
            ..self
        }
    }

    /// Says by `judge` whose fault an error of the channel is, or of an answer's body: as
    /// [`HttpCalls::judged_errors`].
    ///
    /// It is not asked for a status that the partner sent: that is [`judged_by`](Self::judged_by).
    ///
    /// tonic's channel has an error type of its own. What its [type](crate::fault) would tell needs
    /// a closure, in one line:
    ///
    /// ```text
    /// let calls = GrpcCalls::new()
    ///     .judged_errors(|error: &tonic::transport::Error| fault::by_type(error));
    /// ```
    #[must_use]
    pub fn judged_errors<E: 'static, V: Into<Verdict>>(
        self,
        judge: impl Fn(&E) -> Option<V> + Send + Sync + 'static,
    ) -> Self {
        Self {
            errors: self.errors.and(judge),
            ..self
        }
    }

    /// Sets the longest delay in a refusal's `RetryInfo`, at least 1 s. Default: 5 min, as the
    /// longest `Retry-After` over HTTP.
    ///
    /// The limit holds for guessed delays too, and no delay goes past a known end. A longer delay
    /// would keep callers away although maintenance may end early.
    ///
    /// # Errors
    ///
    /// If `longest` is shorter than 1 s.
    pub fn longest_retry_delay(self, longest: Duration) -> Result<Self, DelayError> {
        let longest = Longest::new(longest)?;
        Ok(Self { longest, ..self })
    }

    /// Returns the default verdict on a status, after gRPC's
    /// [meaning of the codes](https://github.com/grpc/grpc/blob/master/doc/statuscodes.md).
    ///
    /// | outcome | code | why |
    /// |---|---|---|
    /// | failure | `CANCELLED` (1) | the partner gave up, as tonic's server at its timeout |
    /// | failure | `UNKNOWN` (2) | an uncaught exception; also a `grpc-status` that is no code |
    /// | failure | `DEADLINE_EXCEEDED` (4) | the partner did not answer in time |
    /// | failure | `INTERNAL` (13), `DATA_LOSS` (15) | something in the partner is broken |
    /// | failure | `UNAVAILABLE` (14) | the partner says so, or a proxy before it |
    /// | neutral | `RESOURCE_EXHAUSTED` (8) | our own rate or quota |
    /// | neutral | `PERMISSION_DENIED` (7), `UNAUTHENTICATED` (16) | our own credentials |
    /// | success | all others | the partner answered, with a yes or a no |
    ///
    /// `CANCELLED` is *received* here: the caller still waits for the answer. A call that the
    /// caller cancels is dropped, has no status, and is judged by the partner's silence.
    ///
    /// Unless the outcome is a success, the verdict carries the partner's `google.rpc.RetryInfo` or
    /// `grpc-retry-pushback-ms`, the longer of the two, as a `Retry-After`. The verdict's code is
    /// the HTTP status that stands for the gRPC code, [`Code::http_status`].
    #[must_use]
    pub fn by_code(code: Code, metadata: &HeaderMap) -> Verdict {
        by_code(code, metadata)
    }
}

impl fmt::Debug for GrpcCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcCalls")
            .field("judge", &self.judge)
            .field("errors", &self.errors)
            .field("methods", &self.methods)
            .field("may_probe", &self.may_probe.is_some())
            .field("longest", &self.longest)
            .finish_non_exhaustive()
    }
}

/// The verdict that the head of an answer gives.
enum Head {
    /// It holds, whatever the body says.
    Final(Verdict),
    /// It holds if the body comes to its end and no trailers say otherwise.
    Provisional(Verdict),
}

impl GrpcCalls {
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Head {
        match wire::code(headers) {
            // A success in the head: trailers may still say otherwise.
            Some(code @ Code::Ok) => Head::Provisional(self.judge.verdict(code, headers)),
            // Trailers-Only, or a failure in the head. Clients read no further.
            Some(code) => Head::Final(self.judge.verdict(code, headers)),
            // The trailers must bring the status. Without one the answer is a failure.
            None if status == StatusCode::OK => Head::Provisional(Outcome::Failure.into()),
            // The sender does not speak gRPC. As a rule it is a proxy.
            None => {
                let verdict = HttpCalls::by_status(status, headers);
                match verdict.outcome {
                    Outcome::Success => Head::Provisional(verdict),
                    Outcome::Failure | Outcome::Neutral => Head::Final(verdict),
                }
            }
        }
    }

    /// Returns the verdict on an error of the client whose fault is told.
    pub(super) fn told(&self, error: Option<&dyn Any>) -> Option<Verdict> {
        self.errors.told(error)
    }

    /// Returns what the body of an answer is judged by. `otherwise` is the verdict of its head.
    fn answer(&self, status: StatusCode, headers: &HeaderMap, otherwise: Verdict) -> Answer {
        // An answer without a 200 is not gRPC and has no messages.
        let is_grpc = status == StatusCode::OK;
        let silence = match self.until {
            Until::FirstMessageCame(silence) if is_grpc => Some(silence),
            Until::FirstMessageCame(_) | Until::TrailersCame => None,
        };
        let form = web::Form::of(headers);
        Answer {
            judge: self.judge.clone(),
            otherwise,
            first: silence.map(|_| FirstMessage::default()),
            web: is_grpc.then(|| web::Frames::of(form)).flatten(),
            silence: silence.unwrap_or_default(),
        }
    }
}

impl<A, B: Body + Default, E> Protocol<Request<A>, Response<B>, E> for GrpcCalls {
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Response<GrpcCallBody<B>>;
    type Error = E;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        let path = request.uri().path();
        let endpoint = self.methods.endpoint(path).with_request(request);
        match &self.may_probe {
            Some(may_probe) => Endpoint {
                may_probe: may_probe(path),
                ..endpoint
            },
            None => endpoint,
        }
    }

    fn for_call(&self, request: &Request<A>) -> Self {
        let until = match self.methods.stream_of(request.uri().path()) {
            None => Until::TrailersCame,
            Some(Stream::Speaks) => Until::FirstMessageCame(Silence::Hangs),
            Some(Stream::MayBeSilent) => Until::FirstMessageCame(Silence::SaysNothing),
        };
        Self {
            until,
            ..self.clone()
        }
    }

    fn finish(
        &self,
        mut ticket: Ticket,
        result: Result<Response<B>, E>,
    ) -> Result<Self::Response, E> {
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                if ticket.is_measured() {
                    ticket.settle(Outcome::Failure);
                }
                return Err(error);
            }
        };
        if !ticket.is_measured() {
            return Ok(response.map(GrpcCallBody::settled));
        }
        // Another layer inside this one refused it, in this process (R24): no header can say so.
        if let Some(refused) = response.extensions().get::<Refused>() {
            ticket.settle_refused(refused);
            return Ok(response.map(GrpcCallBody::settled));
        }
        let (head, body) = response.into_parts();
        let body = match self.head(head.status, &head.headers) {
            Head::Provisional(verdict) if !body.is_end_stream() => {
                ticket.progress();
                let answer = self.answer(head.status, &head.headers, verdict);
                GrpcCallBody::new(body, ticket, answer)
            }
            Head::Provisional(verdict) | Head::Final(verdict) => {
                ticket.settle(verdict);
                GrpcCallBody::settled(body)
            }
        };
        Ok(Response::from_parts(head, body))
    }

    fn refuse(&self, request: Request<A>, refused: Refused) -> Result<Self::Response, E> {
        let form = web::Form::of(request.headers());
        Ok(self.longest.refusal(&refused.into(), form))
    }

    fn judge_error(&self, _: &E, any: Option<&dyn Any>) -> Option<Verdict> {
        self.told(any)
    }

    fn unready(&self, error: E) -> E {
        error
    }
}
