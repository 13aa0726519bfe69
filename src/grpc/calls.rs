//! Around a gRPC client: judged by `grpc-status`, refused by an answer.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;

use super::{
    Code,
    body::{Answer, FirstMessage, Measured, Silence},
    methods::{MethodError, Methods, Stream},
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
    http::HttpCalls,
};

/// Around a gRPC client; see [`MaintenanceLayer::grpc_calls`](crate::MaintenanceLayer::grpc_calls) for
/// what counts as what.
///
/// Its options, by [`speaking`](crate::MaintenanceLayer::speaking):
///
/// ```
/// use tower_maintenance::{MaintenanceLayer, Outcome, grpc::{Code, GrpcCalls}};
///
/// let calls = GrpcCalls::new()
///     .reads(["/billing.v1.Billing/GetPrices", "/billing.v1.Billing/WatchPrices"])? // these may probe
///     .streams(["/billing.v1.Billing/WatchPrices"])? // judged at its first message
///     .never(["/billing.v1.Billing/SettleYear"])? // in `Serving` alone
///     .judged_by(|code, metadata| match code {
///         Code::Aborted => Outcome::Failure.into(), // this partner aborts when its database is gone
///         _ => GrpcCalls::by_code(code, metadata),
///     });
/// let view = MaintenanceLayer::new("zuora").speaking(calls);
/// # let _ = view;
/// # Ok::<(), tower_maintenance::grpc::MethodError>(())
/// ```
#[derive(Clone, Default)]
pub struct GrpcCalls {
    judge: JudgeStatus,
    methods: Methods,
    may_probe: Option<Arc<JudgeProbe>>,
    longest: Longest,
    until: Until,
}

/// When an answer that looks good is a success. It is a call's own: set by its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Until {
    #[default]
    TrailersCame,
    FirstMessageCame(Silence),
}

type JudgeProbe = dyn Fn(&str) -> bool + Send + Sync;

type JudgeCode = dyn Fn(Code, &HeaderMap) -> Verdict + Send + Sync;

/// What judges a status: the user's closure, or the default.
#[derive(Clone, Default)]
pub(super) struct JudgeStatus(Option<Arc<JudgeCode>>);

impl JudgeStatus {
    pub(super) fn verdict(&self, code: Code, metadata: &HeaderMap) -> Verdict {
        match &self.0 {
            Some(judge) => judge(code, metadata),
            None => GrpcCalls::by_code(code, metadata),
        }
    }
}

impl GrpcCalls {
    /// Judges by [`by_code`](Self::by_code); no method may probe.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds methods that only read, as `/package.Service/Method`: they may probe, and pass under a
    /// [read-only hold](crate::Hold::read_only). Default: none, since gRPC
    /// sends everything by POST, and nothing on the wire tells a read from a charge.
    ///
    /// # Errors
    ///
    /// If a name is not of that form, or the method is said to [never](Self::never) pass too; the error names it.
    pub fn reads<M: Into<String>>(
        self,
        methods: impl IntoIterator<Item = M>,
    ) -> Result<Self, MethodError> {
        let methods = self.methods.class(Class::Read, methods)?;
        Ok(Self { methods, ..self })
    }

    /// Adds methods that pass in `Serving` alone ([`Class::Never`]), as `/package.Service/Method`: a yearly settlement has no part in
    /// proving that the partner is back. Default: none.
    ///
    /// # Errors
    ///
    /// If a name is not of that form, or the method is said to read too; the error names it.
    pub fn never<M: Into<String>>(
        self,
        methods: impl IntoIterator<Item = M>,
    ) -> Result<Self, MethodError> {
        let methods = self.methods.class(Class::Never, methods)?;
        Ok(Self { methods, ..self })
    }

    /// Says which calls may probe, by the path. Default: those that [read](Self::reads).
    ///
    /// It changes no class: what may probe and does not read is refused under a read-only hold, and what
    /// [never](Self::never) passes does not probe either.
    #[must_use]
    pub fn may_probe(self, may_probe: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self {
            may_probe: Some(Arc::new(may_probe)),
            ..self
        }
    }

    /// Adds methods whose answers are long streams (a `Watch`, a subscription), as `/package.Service/Method`: such a call is judged
    /// at its first message. Default: none, and every call is judged at its trailers.
    ///
    /// | the call | is |
    /// |---|---|
    /// | has its first message, all of it | a success, at that moment; it gives its probe slot back |
    /// | brings a status before | what the status says |
    /// | ends without one, breaks off, or hangs before | as [any other](Measured): a failure |
    /// | is dropped before | as any other: by how long the partner was silent |
    ///
    /// From then on nothing of it counts: not that it is quiet for hours, not that it is dropped, nor how it ends. Otherwise a
    /// `Watch` that has nothing to tell would count as hanging after `hang_limit`, and one restart of a healthy partner as a
    /// failure for each stream that was open. What is lost by that comes back at once: a client whose stream ends opens it
    /// anew, and that is a call of its own.
    ///
    /// A stream that may be quiet *before* its first message is a [subscription](Self::subscriptions).
    ///
    /// # Errors
    ///
    /// If a name is not of that form, or the method is said to be a subscription too; the error names it.
    pub fn streams<M: Into<String>>(
        self,
        methods: impl IntoIterator<Item = M>,
    ) -> Result<Self, MethodError> {
        let methods = self.methods.stream(Stream::Speaks, methods)?;
        Ok(Self { methods, ..self })
    }

    /// Adds methods whose answers may be silent from their start (a subscription to rare events), as `/package.Service/Method`: such a
    /// call is judged as one that [streams](Self::streams), but that its silence says nothing. Default: none.
    ///
    /// | the call, once its head came, | is |
    /// |---|---|
    /// | has its first message, all of it | a success, at that moment |
    /// | brings a status before | what the status says |
    /// | ends without one, or breaks off before | a failure |
    /// | is silent | in flight, for as long as it is |
    /// | is dropped before | neutral |
    ///
    /// Nothing tells such a stream from a partner who accepts everything and does nothing: a hang is not seen in these methods, and
    /// must show in others. Until its head came, the call is as any other. They do not probe unless [`may_probe`](Self::may_probe) says so, read or not:
    /// one would hold its slot until the lease ends. Under a [slow-call rule](crate::Policy::with_slow_calls)
    /// what counts is the time until the first message.
    ///
    /// ```
    /// use tower_maintenance::grpc::GrpcCalls;
    ///
    /// let calls = GrpcCalls::new().subscriptions(["/billing.v1.Billing/WatchDisputes"])?;
    /// let error = calls.streams(["/billing.v1.Billing/WatchDisputes"]).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "the method `/billing.v1.Billing/WatchDisputes` is both a stream and a subscription: give it one",
    /// );
    /// # Ok::<(), tower_maintenance::grpc::MethodError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a name is not of that form, or the method is said to stream too; the error names it.
    pub fn subscriptions<M: Into<String>>(
        self,
        methods: impl IntoIterator<Item = M>,
    ) -> Result<Self, MethodError> {
        let methods = self.methods.stream(Stream::MayBeSilent, methods)?;
        Ok(Self { methods, ..self })
    }

    /// The longest that a refusal's `RetryInfo` says, at least 1 s. Default: 5 min, as the longest `Retry-After` over HTTP: who was told
    /// longer would stay away though maintenance may end early.
    ///
    /// No delay is longer, those guessed neither; and none is past an end that is known.
    ///
    /// # Errors
    ///
    /// If it is shorter than 1 s.
    pub fn longest_retry_delay(self, longest: Duration) -> Result<Self, DelayError> {
        let longest = Longest::new(longest)?;
        Ok(Self { longest, ..self })
    }

    /// Judges a status by `verdict` instead of [`by_code`](Self::by_code). It is given the code, and the
    /// headers (Trailers-Only) or trailers that it came with.
    #[must_use]
    pub fn judged_by(
        self,
        verdict: impl Fn(Code, &HeaderMap) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self {
            judge: JudgeStatus(Some(Arc::new(verdict))),
            ..self
        }
    }

    /// The default judgement of a status, by what gRPC
    /// [says that the codes mean](https://github.com/grpc/grpc/blob/master/doc/statuscodes.md).
    ///
    /// | outcome | code | why |
    /// |---|---|---|
    /// | failure | `UNKNOWN` (2) | an exception nobody caught; also a `grpc-status` that is no code |
    /// | failure | `DEADLINE_EXCEEDED` (4) | it did not answer in time |
    /// | failure | `INTERNAL` (13), `DATA_LOSS` (15) | something in it is broken |
    /// | failure | `UNAVAILABLE` (14) | it says so itself, or a proxy before it does |
    /// | neutral | `CANCELLED` (1) | the caller gave up |
    /// | neutral | `RESOURCE_EXHAUSTED` (8) | our own rate or quota |
    /// | neutral | `PERMISSION_DENIED` (7), `UNAUTHENTICATED` (16) | our own credentials |
    /// | success | all others | the partner answered: no, not found, not so, not now |
    ///
    /// Unless it is a success, the partner's `google.rpc.RetryInfo` or `grpc-retry-pushback-ms` is heeded as a
    /// `Retry-After` is, the longer of the two. The verdict's code is the HTTP status that stands for the
    /// gRPC code, [`Code::http_status`].
    #[must_use]
    pub fn by_code(code: Code, metadata: &HeaderMap) -> Verdict {
        let outcome = match code {
            Code::Unknown
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Outcome::Failure,
            Code::Cancelled
            | Code::ResourceExhausted
            | Code::PermissionDenied
            | Code::Unauthenticated => Outcome::Neutral,
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented => Outcome::Success,
        };
        let verdict = Verdict::from(outcome).with_code(code.http_status().as_u16());
        if outcome == Outcome::Success {
            return verdict;
        }
        match wire::retry_after(metadata) {
            Some(span) => verdict.with_retry_after(span),
            None => verdict,
        }
    }
}

impl fmt::Debug for GrpcCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcCalls")
            .field("judge", &self.judge)
            .field("methods", &self.methods)
            .field("may_probe", &self.may_probe.is_some())
            .field("longest", &self.longest)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for JudgeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "given" } else { "by_code" })
    }
}

/// What an answer's head says.
enum Head {
    /// The whole verdict.
    Final(Verdict),
    /// The verdict if the body comes to its end, and no trailers say otherwise.
    Provisional(Verdict),
}

impl GrpcCalls {
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Head {
        match wire::code(headers) {
            // Trailers-Only, or a head that says so already: clients read no further.
            Some(code @ Code::Ok) => Head::Provisional(self.judge.verdict(code, headers)),
            Some(code) => Head::Final(self.judge.verdict(code, headers)),
            // The status comes in the trailers, or the answer is none.
            None if status == StatusCode::OK => Head::Provisional(Outcome::Failure.into()),
            // Somebody who does not speak gRPC: a proxy, as a rule.
            None => {
                let verdict = HttpCalls::by_status(status, headers);
                match verdict.outcome {
                    Outcome::Success => Head::Provisional(verdict),
                    Outcome::Failure | Outcome::Neutral => Head::Final(verdict),
                }
            }
        }
    }
}

impl<A, B: Body + Default, E> Protocol<Request<A>, Response<B>, E> for GrpcCalls {
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Response<Measured<B>>;
    type Error = E;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        let path = request.uri().path();
        let endpoint = self.methods.endpoint(path);
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
                ticket.settle(Outcome::Failure);
                return Err(error);
            }
        };
        if !ticket.is_measured() {
            return Ok(response.map(Measured::settled));
        }
        // Another layer's refusal from within the stack is no failure of this partner.
        if response.extensions().get::<Refused>().is_some() {
            ticket.settle(Outcome::Neutral);
            return Ok(response.map(Measured::settled));
        }
        let (head, body) = response.into_parts();
        let body = match self.head(head.status, &head.headers) {
            Head::Provisional(verdict) if !body.is_end_stream() => {
                ticket.progress();
                // What is no 200 is no gRPC, and has no messages.
                let is_grpc = head.status == StatusCode::OK;
                let silence = match self.until {
                    Until::FirstMessageCame(silence) if is_grpc => Some(silence),
                    Until::FirstMessageCame(_) | Until::TrailersCame => None,
                };
                let form = web::Form::of(&head.headers);
                let answer = Answer {
                    judge: self.judge.clone(),
                    otherwise: verdict,
                    first: silence.map(|_| FirstMessage::default()),
                    web: is_grpc.then(|| web::Frames::of(form)).flatten(),
                    silence: silence.unwrap_or_default(),
                };
                Measured::new(body, ticket, answer)
            }
            Head::Provisional(verdict) | Head::Final(verdict) => {
                ticket.settle(verdict);
                Measured::settled(body)
            }
        };
        Ok(Response::from_parts(head, body))
    }

    fn refuse(&self, request: Request<A>, refused: Refused) -> Result<Self::Response, E> {
        let form = web::Form::of(request.headers());
        Ok(self.longest.refusal(&refused, form))
    }

    fn unready(&self, error: E) -> E {
        error
    }
}
