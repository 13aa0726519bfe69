//! `tower-maintenance` with a real tonic on both sides: a scripted billing partner, over loopback.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status,
    body::Body,
    transport::{Channel, Endpoint, Server, server::Router},
};
use tower::util::MapResponseLayer;

/// Client and server of `billing.v1.Billing`; written by `build.rs`.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    reason = "the generator's style is its own"
)]
pub mod billing {
    tonic::include_proto!("billing.v1.Billing");
}

pub use billing::{billing_client::BillingClient, billing_server::BillingServer};

/// What has no arguments.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Ask {}

/// A charge, in cents.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Payment {
    /// How much.
    #[prost(uint64, tag = "1")]
    pub cents: u64,
}

/// What a month costs, in cents.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Prices {
    /// How much.
    #[prost(uint64, tag = "1")]
    pub cents: u64,
}

/// What is owed, in cents.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Invoice {
    /// How much.
    #[prost(uint64, tag = "1")]
    pub cents: u64,
}

/// The methods as they are on the wire.
pub mod method {
    /// A unary read.
    pub const GET_PRICES: &str = "/billing.v1.Billing/GetPrices";
    /// A unary read that is exempt in the tests.
    pub const GET_INVOICE: &str = "/billing.v1.Billing/GetInvoice";
    /// A read that is answered by a stream.
    pub const WATCH_PRICES: &str = "/billing.v1.Billing/WatchPrices";
}

/// What the partner does.
#[derive(Debug, Clone, Default)]
pub enum Behaviour {
    /// Answers as it should; a stream has three items.
    #[default]
    Healthy,
    /// Answers with a status at once: Trailers-Only.
    Fails(Box<Status>),
    /// A stream yields one item, and then a status in the trailers. A unary call is answered as by
    /// [`Fails`](Self::Fails).
    FailsInTrailers(Box<Status>),
    /// The stream of HTTP/2 is reset after so many frames of the body.
    BreaksOff(usize),
    /// Never answers.
    Hangs,
    /// A stream yields one item, and no more; anything else is healthy.
    StreamHangs,
}

impl Behaviour {
    /// Trailers-Only, with this code.
    #[must_use]
    pub fn failing(code: tonic::Code) -> Self {
        Self::Fails(Box::new(Status::new(code, "the partner says so")))
    }
}

/// The partner: what it does, and how often it was called.
#[derive(Debug, Clone, Default)]
pub struct Partner {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    behaviour: Behaviour,
    calls: HashMap<&'static str, u64>,
}

impl Partner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it does this.
    pub fn does(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// Forgets the calls that reached it.
    pub fn forget(&self) {
        self.state().calls.clear();
    }

    /// How many calls reached it.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls.values().sum()
    }

    /// Returns the number of calls of a method that reached it.
    ///
    /// The methods are `get_prices`, `get_invoice`, `charge` and `watch_prices`.
    #[must_use]
    pub fn calls_of(&self, method: &str) -> u64 {
        self.state().calls.get(method).copied().unwrap_or(0)
    }

    /// The partner behind a real server.
    ///
    /// # Errors
    ///
    /// If there is no port to listen on.
    pub async fn listen(&self) -> io::Result<Listening> {
        let cut = self.clone();
        let server = Server::builder()
            .layer(MapResponseLayer::new(
                move |response: http::Response<Body>| {
                    let left = match cut.state().behaviour {
                        Behaviour::BreaksOff(frames) => Some(frames),
                        _ => None,
                    };
                    response.map(|body| Cut { body, left })
                },
            ))
            .add_service(BillingServer::new(self.clone()));
        serve(server).await
    }

    async fn answer<T>(&self, method: &'static str, answer: T) -> Result<Response<T>, Status> {
        let behaviour = self.came(method);
        match behaviour {
            Behaviour::Fails(status) | Behaviour::FailsInTrailers(status) => Err(*status),
            Behaviour::Hangs => std::future::pending().await,
            Behaviour::Healthy | Behaviour::BreaksOff(_) | Behaviour::StreamHangs => {
                Ok(Response::new(answer))
            }
        }
    }

    fn came(&self, method: &'static str) -> Behaviour {
        let mut state = self.state();
        *state.calls.entry(method).or_default() += 1;
        state.behaviour.clone()
    }
}

#[tonic::async_trait]
impl billing::billing_server::Billing for Partner {
    async fn get_prices(&self, _: Request<Ask>) -> Result<Response<Prices>, Status> {
        self.answer("get_prices", Prices { cents: 1200 }).await
    }

    async fn get_invoice(&self, _: Request<Ask>) -> Result<Response<Invoice>, Status> {
        self.answer("get_invoice", Invoice { cents: 1200 }).await
    }

    async fn charge(&self, request: Request<Payment>) -> Result<Response<Invoice>, Status> {
        let cents = request.into_inner().cents;
        self.answer("charge", Invoice { cents }).await
    }

    type WatchPricesStream = Pin<Box<dyn Stream<Item = Result<Prices, Status>> + Send>>;

    async fn watch_prices(
        &self,
        _: Request<Ask>,
    ) -> Result<Response<Self::WatchPricesStream>, Status> {
        let prices = |cents| Ok(Prices { cents });
        let first = tokio_stream::once(prices(1200));
        Ok(Response::new(match self.came("watch_prices") {
            Behaviour::Fails(status) => return Err(*status),
            Behaviour::Hangs => std::future::pending().await,
            Behaviour::FailsInTrailers(status) => {
                Box::pin(first.chain(tokio_stream::once(Err(*status))))
            }
            Behaviour::StreamHangs => Box::pin(first.chain(tokio_stream::pending())),
            Behaviour::Healthy | Behaviour::BreaksOff(_) => {
                Box::pin(first.chain(tokio_stream::iter([1300, 1400].map(prices))))
            }
        }))
    }
}

pin_project_lite::pin_project! {
    /// A body that fails when no frames are left.
    struct Cut {
        #[pin]
        body: Body,
        left: Option<usize>,
    }
}

impl http_body::Body for Cut {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        match this.left {
            Some(0) => return Poll::Ready(Some(Err(Status::internal("cut")))),
            Some(left) => *left -= 1,
            None => {}
        }
        this.body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.left != Some(0) && self.body.is_end_stream()
    }
}

/// A server that ends with this.
#[derive(Debug)]
pub struct Listening {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Listening {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A channel to it, which connects when it is first used.
    ///
    /// # Errors
    ///
    /// If its address makes no URI.
    pub fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        Ok(Endpoint::from_shared(format!("http://{}", self.addr))?.connect_lazy())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves on a free port of loopback.
///
/// # Errors
///
/// If there is none.
pub async fn serve<L, ResBody>(router: Router<L>) -> io::Result<Listening>
where
    L: tower::Layer<tonic::service::Routes> + Send + 'static,
    L::Service: tower::Service<
            http::Request<Body>,
            Response = http::Response<ResBody>,
            Future: Send,
            Error: Into<tower::BoxError> + Send,
        > + Clone
        + Send
        + 'static,
    ResBody: http_body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let task = tokio::spawn(async move {
        // It ends when the task is aborted, and with an error only if loopback itself breaks.
        let _ = router
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await;
    });
    Ok(Listening { addr, task })
}
