//! One call through a real client behind the layer.

use std::{pin::Pin, time::Duration};

use clients_tests::{of_resolver, reqwest_calls, tonic_calls};
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use hyper_util::{client::legacy, rt::TokioExecutor};
use test_support::{ScriptedBody, Step, soon};
use tonic::transport::{ClientTlsConfig, Endpoint};
use tower::{Layer, Service, ServiceExt, timeout::Timeout};
use tower_maintenance::{
    MaintenanceHandle, MaintenanceLayer, http::HttpCalls, reqwest::HttpService,
};

/// Long enough for loopback, short enough to wait for.
const SOON: Duration = Duration::from_millis(300);

/// A client of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    HyperUtil,
    /// By `HttpService` and the closures of the guide.
    Reqwest,
    /// By `layer.reqwest(client)`.
    GuardedReqwest,
    /// By `layer.reqwest_middleware()`.
    ReqwestMiddleware,
    Tonic,
}

/// How a case calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub(crate) uri: String,
    pub(crate) post: bool,
    pub(crate) http2: bool,
    /// Whether the caller's own upload breaks off.
    pub(crate) upload_breaks: bool,
    pub(crate) times_out: bool,
    /// Whether a name that does not resolve is ours.
    pub(crate) own_resolver: bool,
}

/// What the counts of a layer say about one call.
pub(crate) fn told(handle: &MaintenanceHandle) -> &'static str {
    let calls = handle.status().calls;
    match [calls.succeeded, calls.failed, calls.neutral, calls.ours] {
        [1, 0, 0, 0] => "success",
        [0, 1, 0, 0] => "failure",
        [0, 0, 1, 0] => "neutral",
        [0, 0, 0, 1] => "ours",
        [0, 0, 0, 0] => "no call",
        other => panic!("one call ends once: {other:?}"),
    }
}

fn upload(call: &Call) -> ScriptedBody {
    let broken = [
        Step::data(b"half"),
        Step::After(Duration::from_millis(20)),
        Step::BreaksOff,
    ];
    ScriptedBody::of(broken.into_iter().filter(|_| call.upload_breaks))
}

fn method(call: &Call) -> Method {
    if call.post { Method::POST } else { Method::GET }
}

fn request<B>(call: &Call, body: B) -> Request<B> {
    let request = Request::builder().method(method(call)).uri(&call.uri);
    request.body(body).unwrap()
}

/// A service that makes the call of a case, as often as it is asked, in a layer of its own.
pub(crate) type Try = Box<dyn FnMut(&MaintenanceLayer) -> Pinned>;
type Pinned = Pin<Box<dyn Future<Output = Option<String>>>>;

/// Returns how `client` makes this call. The connections of one client are kept from call to call.
pub(crate) fn client(client: Client, call: Call) -> Try {
    match client {
        Client::HyperUtil => hyper_util(call),
        Client::Reqwest => reqwest(call),
        Client::GuardedReqwest => guarded_reqwest(call),
        Client::ReqwestMiddleware => reqwest_middleware(call),
        Client::Tonic => tonic(call),
    }
}

/// Runs one call to its end, and returns its error's text.
async fn run<S, A, B>(service: S, request: Request<A>) -> Option<String>
where
    S: Service<Request<A>, Response = Response<B>, Error: std::fmt::Debug>,
    B: Body<Error: std::fmt::Debug>,
{
    let answer = match soon(service.oneshot(request)).await {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{error:?}")),
    };
    let body = soon(answer.into_body().collect()).await;
    body.err().map(|error| format!("body: {error:?}"))
}

fn hyper_util(call: Call) -> Try {
    let roots = rustls::RootCertStore::empty();
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    let inner: legacy::Client<_, ScriptedBody> = builder.http2_only(call.http2).build(connector);
    Box::new(move |layer| {
        let (inner, call) = (inner.clone(), call.clone());
        let request = request(&call, upload(&call));
        if call.times_out {
            let service = layer.http_calls().boxed().layer(Timeout::new(inner, SOON));
            return Box::pin(run(service, request));
        }
        let calls = HttpCalls::new();
        let calls = match call.own_resolver {
            true => calls.judged_errors(|error: &legacy::Error| of_resolver(error)),
            false => calls,
        };
        Box::pin(run(
            layer.with_protocol(calls).nested().layer(inner),
            request,
        ))
    })
}

fn reqwest_client(call: &Call) -> reqwest::Client {
    let mut builder = reqwest::Client::builder();
    if call.http2 {
        builder = builder.http2_prior_knowledge();
    }
    if call.times_out {
        builder = builder.timeout(SOON);
    }
    builder.build().unwrap()
}

fn reqwest(call: Call) -> Try {
    let service = HttpService::new(reqwest_client(&call));
    let service =
        service.map_request(|request: Request<ScriptedBody>| request.map(reqwest::Body::wrap));
    Box::new(move |layer| {
        let calls = of_resolver_if(&call, reqwest_calls());
        let service = layer.with_protocol(calls).nested().layer(service.clone());
        Box::pin(run(service, request(&call, upload(&call))))
    })
}

fn guarded_reqwest(call: Call) -> Try {
    let inner = reqwest_client(&call);
    Box::new(move |layer| {
        let calls = of_resolver_if(&call, HttpCalls::new());
        let inner = layer.with_protocol(calls).reqwest(inner.clone());
        let request = inner.request(method(&call), &call.uri);
        let request = request.body(reqwest::Body::wrap(upload(&call)));
        Box::pin(read(async move { request.send().await }))
    })
}

fn reqwest_middleware(call: Call) -> Try {
    let inner = reqwest_client(&call);
    Box::new(move |layer| {
        let calls = of_resolver_if(&call, HttpCalls::new());
        let inner = reqwest_middleware::ClientBuilder::new(inner.clone())
            .with(layer.with_protocol(calls).reqwest_middleware())
            .build();
        let request = inner.request(method(&call), &call.uri);
        let request = request.body(reqwest::Body::wrap(upload(&call)));
        Box::pin(read(async move { request.send().await }))
    })
}

fn of_resolver_if(call: &Call, calls: HttpCalls) -> HttpCalls {
    match call.own_resolver {
        true => calls.judged_errors(|error: &reqwest::Error| of_resolver(error)),
        false => calls,
    }
}

/// Reads an answer of reqwest to its end, and returns the error's text.
async fn read<E: std::fmt::Debug>(
    answer: impl Future<Output = Result<reqwest::Response, E>>,
) -> Option<String> {
    let answer = match soon(answer).await {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{error:?}")),
    };
    let body = soon(answer.bytes()).await;
    body.err().map(|error| format!("body: {error:?}"))
}

fn tonic(call: Call) -> Try {
    let mut endpoint = Endpoint::from_shared(call.uri.clone()).unwrap();
    if call.uri.starts_with("https") {
        endpoint = endpoint.tls_config(ClientTlsConfig::new()).unwrap();
    }
    if call.times_out {
        endpoint = endpoint.timeout(SOON);
    }
    let inner = endpoint.connect_lazy();
    Box::new(move |layer| {
        let calls = tonic_calls();
        let calls = match call.own_resolver {
            true => calls.judged_errors(|error: &tonic::transport::Error| of_resolver(error)),
            false => calls,
        };
        let service = layer.with_protocol(calls).nested().layer(inner.clone());
        let request = request(&call, tonic::body::Body::new(upload(&call)));
        Box::pin(run(service, request))
    })
}
