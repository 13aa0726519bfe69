//! A partner that answers as it is told, and a caller behind the layer.

use std::{
    io,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use test_support::{ScriptedBody, Step, secs};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{
    Exemption, MaintenanceHandle, MaintenanceLayer, Outcome, Policy, Refused,
    grpc::{GrpcCallBody, GrpcCalls},
};

pub(crate) const CHARGE: &str = "/billing.v1.Billing/Charge";
pub(crate) const PRICES: &str = "/billing.v1.Billing/GetPrices";

// ---- the partner --------------------------------------------------------------------------------

/// A whole message, of no bytes.
pub(crate) fn message() -> Step {
    Step::data(b"\0\0\0\0\0")
}

/// An answer that the partner gives to every call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) steps: Vec<Step>,
}

pub(crate) fn fields(all: &[(&'static str, &str)]) -> HeaderMap {
    let field = |&(name, value): &(&'static str, &str)| {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        (HeaderName::from_static(name), value)
    };
    all.iter().map(field).collect()
}

pub(crate) fn status(code: &str) -> HeaderMap {
    fields(&[("grpc-status", code)])
}

/// The usual answer: a head without a status, a message, and the status in the trailers.
pub(crate) fn in_trailers(code: &str) -> Answer {
    with_body(vec![message(), Step::Trailers(status(code))])
}

pub(crate) fn with_body(steps: Vec<Step>) -> Answer {
    Answer {
        http: 200,
        headers: HeaderMap::new(),
        steps,
    }
}

/// The status in the head, and no body.
pub(crate) fn trailers_only(headers: HeaderMap) -> Answer {
    Answer {
        http: 200,
        headers,
        steps: Vec::new(),
    }
}

pub(crate) fn by_proxy(http: u16, headers: HeaderMap) -> Answer {
    Answer {
        http,
        headers,
        steps: vec![message()],
    }
}

#[derive(Clone, Default)]
pub(crate) struct Partner {
    answer: Arc<Mutex<Answer>>,
    calls: Arc<Mutex<usize>>,
}

impl Partner {
    pub(crate) fn channel(
        &self,
    ) -> impl Service<
        Request<()>,
        Response = Response<ScriptedBody>,
        Error = io::Error,
        Future: Send,
    > + Clone
    + use<> {
        let this = self.clone();
        service_fn(move |_: Request<()>| {
            *this.calls.lock().unwrap() += 1;
            let Answer {
                http,
                headers,
                steps,
            } = this.answer.lock().unwrap().clone();
            async move {
                if http == 0 {
                    return Err(io::Error::other("connection refused"));
                }
                let mut response = Response::new(ScriptedBody::of(steps));
                *response.status_mut() = http.try_into().unwrap();
                *response.headers_mut() = headers;
                Ok(response)
            }
        })
    }

    pub(crate) fn calls(&self) -> usize {
        *self.calls.lock().unwrap()
    }
}

// ---- the caller ---------------------------------------------------------------------------------

pub(crate) struct Stack {
    pub(crate) layer: MaintenanceLayer,
    pub(crate) handle: MaintenanceHandle,
    partner: Partner,
    speaks: GrpcCalls,
}

/// Trips at the third failure in a row, with a wait longer than any test.
fn policy() -> Policy {
    Policy::default()
        .with_consecutive_failures(3)
        .with_wait(secs(600))
        .with_wait_growing(1.0, secs(3600))
        .with_jitter(0.0)
}

impl Stack {
    pub(crate) fn new(answer: Answer) -> Self {
        Self::with_protocol(GrpcCalls::new().reads([PRICES]).unwrap(), answer)
    }

    pub(crate) fn with_protocol(speaks: GrpcCalls, answer: Answer) -> Self {
        let layer = MaintenanceLayer::builder("zuora")
            .policy(policy())
            .exempt(Exemption::grpc_call(
                "/billing.v1.Billing/GetInvoice",
                "customers may always see what they owe",
            ))
            .build()
            .unwrap();
        let stack = Self {
            handle: layer.handle(),
            layer,
            partner: Partner::default(),
            speaks,
        };
        stack.answers(answer);
        stack
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.partner.answer.lock().unwrap() = answer;
    }

    pub(crate) async fn head(
        &self,
        method: &str,
    ) -> Result<Response<GrpcCallBody<ScriptedBody>>, io::Error> {
        let channel = self
            .layer
            .with_protocol(self.speaks.clone())
            .layer(self.partner.channel());
        let request = Request::post(format!("http://partner{method}"));
        channel.oneshot(request.body(()).unwrap()).await
    }

    /// Makes a call, and reads its body as far as it goes.
    pub(crate) async fn call(&self, method: &str) {
        if let Ok(answer) = self.head(method).await {
            let _ = answer.into_body().collect().await;
        }
    }

    /// Returns whether a call was refused and did not reach the partner.
    pub(crate) async fn is_refused(&self, method: &str) -> bool {
        let before = self.partner.calls();
        let answer = self.head(method).await.unwrap();
        let refused = answer.extensions().get::<Refused>().is_some();
        assert_eq!(refused, self.partner.calls() == before);
        assert!(!refused || answer.body().is_end_stream());
        refused
    }

    pub(crate) fn counts(&self) -> (u64, u64, u64, u64) {
        let calls = self.handle.status().calls;
        assert_eq!(calls.in_flight(), 0);
        (
            calls.succeeded,
            calls.failed,
            calls.neutral,
            calls.abandoned,
        )
    }

    /// The outcome of one call that is read to its end.
    pub(crate) async fn outcome(&self, answer: Answer) -> Outcome {
        self.answers(answer);
        let before = self.counts();
        self.call(CHARGE).await;
        let after = self.counts();
        match (
            after.0 - before.0,
            after.1 - before.1,
            after.2 - before.2,
            after.3 - before.3,
        ) {
            (1, 0, 0, 0) => Outcome::Success,
            (0, 1, 0, 0) => Outcome::Failure,
            (0, 0, 1, 0) => Outcome::Neutral,
            other => panic!("one call, one outcome, not given up: {other:?}"),
        }
    }
}

/// One outcome, on a layer of its own.
pub(crate) async fn outcome(answer: Answer) -> Outcome {
    Stack::new(Answer::default()).outcome(answer).await
}
