//! The partner over HTTP: its decisions, written as responses.
//!
//! The server serves this same service and only adds the socket. So a test on paused time sees what
//! it would see over a port, except for the transport.

pub(super) mod body;

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, request};
use pin_project_lite::pin_project;
use tower::Service;

use self::body::{PartnerBody, broken, whole};
use super::{
    partner::{CallEnd, PartnerError, SimulatedPartner, body_text, call::Due, reply::Reply},
    script::Script,
    server::PartnerServer,
};

type Healthy = dyn Fn(&request::Parts) -> Response<Bytes> + Send + Sync;

/// The [`SimulatedPartner`] as a service of HTTP requests, in memory; made by
/// [`SimulatedPartner::over_http`].
///
/// Every answer is a response, including a 503. Only a refused connection is an error, and a reset
/// breaks the body. A call ends when its body has been read to the end or dropped.
///
/// ```
/// use http_body_util::BodyExt;
/// use tower::ServiceExt;
/// use tower_maintenance::testing::{PartnerError, Phase, SimulatedPartner};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let partner = SimulatedPartner::healthy();
/// let get = || http::Request::get("/v1/prices").body(());
///
/// let response = partner.over_http().oneshot(get()?).await?;
/// let body = response.into_body().collect().await?.to_bytes();
/// assert_eq!(body, r#"{"success": true, "path": "/v1/prices", "n": 1}"#);
/// assert_eq!(partner.calls_to("/v1/prices"), 1);
///
/// partner.switch_to(Phase::ResetMidBody)?;
/// let response = partner.over_http().oneshot(get()?).await?;
/// assert_eq!(response.status(), 200);
/// let broken = response.into_body().collect().await.unwrap_err();
/// assert_eq!(broken, PartnerError::ConnectionReset);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HttpPartner {
    partner: SimulatedPartner,
    healthy: Option<Arc<Healthy>>,
    cut: Option<Arc<AtomicBool>>,
}

impl SimulatedPartner {
    /// Returns the same partner as a service of HTTP requests and responses, in memory.
    #[must_use]
    pub fn over_http(&self) -> HttpPartner {
        HttpPartner {
            partner: self.clone(),
            healthy: None,
            cut: None,
        }
    }

    /// Opens a real port for the same partner: short for `over_http().listen()`.
    ///
    /// # Errors
    ///
    /// As for [`HttpPartner::listen`].
    ///
    /// # Panics
    ///
    /// As for [`HttpPartner::listen`].
    pub async fn listen(&self) -> io::Result<PartnerServer> {
        self.over_http().listen().await
    }
}

impl PartnerServer {
    /// Starts a server for a partner of its own that follows `script`, whose clock starts now.
    ///
    /// # Errors
    ///
    /// If the port cannot be opened.
    ///
    /// # Panics
    ///
    /// If there is no tokio runtime with IO and time enabled.
    pub async fn start(script: Script, seed: u64) -> io::Result<Self> {
        SimulatedPartner::new(script, seed).listen().await
    }
}

impl HttpPartner {
    /// Lets `respond` write the answers of calls that succeed, such as prices and invoices, in
    /// place of the standard body. The simulator still decides which calls fail, and how.
    ///
    /// A call that succeeds counts as a success whatever status `respond` gives. A panic in
    /// `respond` reaches the caller in memory, and closes the connection over a port.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::BodyExt;
    /// use tower::ServiceExt;
    /// use tower_maintenance::testing::SimulatedPartner;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let partner = SimulatedPartner::healthy().over_http().healthy_with(|request| {
    ///     http::Response::new(match request.uri.path() {
    ///         "/v1/prices" => Bytes::from_static(br#"{"basic": 19}"#),
    ///         _ => Bytes::from_static(b"{}"),
    ///     })
    /// });
    /// let response = partner.oneshot(http::Request::get("/v1/prices").body(())?).await?;
    /// assert_eq!(response.into_body().collect().await?.to_bytes(), r#"{"basic": 19}"#);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn healthy_with<F>(self, respond: F) -> Self
    where
        F: Fn(&request::Parts) -> Response<Bytes> + Send + Sync + 'static,
    {
        Self {
            healthy: Some(Arc::new(respond)),
            ..self
        }
    }

    /// Opens a free port of 127.0.0.1 and serves this partner there over HTTP/1.1, on real time.
    ///
    /// # Errors
    ///
    /// If the port cannot be opened.
    ///
    /// # Panics
    ///
    /// If there is no tokio runtime with IO and time enabled.
    pub async fn listen(self) -> io::Result<PartnerServer> {
        let (partner, cut) = (self.partner.clone(), Arc::default());
        let service = self.cut_by(Arc::clone(&cut));
        PartnerServer::serve(partner, service, cut).await
    }

    /// Returns the same service, whose calls end as reset and not as dropped while `cut` is set.
    fn cut_by(self, cut: Arc<AtomicBool>) -> Self {
        Self {
            cut: Some(cut),
            ..self
        }
    }
}

impl fmt::Debug for HttpPartner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPartner")
            .field("partner", &self.partner)
            .finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for HttpPartner {
    type Response = Response<PartnerBody>;
    type Error = PartnerError;
    type Future = HttpAnswerFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PartnerError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> HttpAnswerFuture {
        let (parts, _body) = request.into_parts();
        let target = match parts.uri.path_and_query() {
            Some(target) => format!("{} {target}", parts.method),
            None => format!("{} {}", parts.method, parts.uri),
        };
        let call = self.partner.begin(Some(target)).cut_by(self.cut.clone());
        HttpAnswerFuture {
            due: Due::new(call),
            request: parts,
            healthy: self.healthy.clone(),
        }
    }
}

pin_project! {
    /// The future of the partner's response; made by [`HttpPartner`].
    #[must_use = "futures do nothing unless polled"]
    pub struct HttpAnswerFuture {
        #[pin]
        due: Due,
        request: request::Parts,
        healthy: Option<Arc<Healthy>>,
    }
}

impl fmt::Debug for HttpAnswerFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswerFuture")
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

impl Future for HttpAnswerFuture {
    type Output = Result<Response<PartnerBody>, PartnerError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut call = ready!(this.due.poll(cx));
        let request = &*this.request;
        let number = call.number();
        let good = || match &this.healthy {
            Some(healthy) => healthy(request),
            None => json(body_text::body(true, Some(request.uri.path()), number)),
        };
        Poll::Ready(match call.reply() {
            Reply::Answer { success: true, .. } => Ok(whole(good(), &request.method, call)),
            Reply::Answer {
                status,
                success: false,
                retry_after,
            } => {
                let mut response = json(body_text::body(false, None, number));
                *response.status_mut() =
                    StatusCode::from_u16(status).expect("checked with the phase: 200 to 599");
                if let Some(after) = retry_after {
                    let seconds = after
                        .as_secs()
                        .saturating_add(u64::from(after.subsec_nanos() > 0));
                    let seconds = HeaderValue::from(seconds);
                    response.headers_mut().insert(header::RETRY_AFTER, seconds);
                }
                Ok(whole(response, &request.method, call))
            }
            Reply::Reset => Ok(broken(good(), call)),
            // `Hang` is never due.
            Reply::Refuse | Reply::Hang => {
                call.settle(CallEnd::ConnectionRefused);
                Err(PartnerError::ConnectionRefused)
            }
        })
    }
}

fn json(body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
