//! The task that owns the port and the connections.

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinSet,
};
use tower::Service;

use super::port::Port;
use crate::testing::{
    partner::{PartnerError, SimulatedPartner},
    script::Phase,
};

/// How often the keeper tries again to open a port that is in use, before it gives up.
const BIND_TRIES: u32 = 50;
/// How long the keeper waits between two tries; five seconds in all.
const BIND_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });
/// How long the keeper waits after a failed `accept`, for instance if there are no file descriptors
/// left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Owns the listener and all connections, and closes them when it ends.
pub(super) struct Keeper<S> {
    pub(super) port: Port,
    /// `None` while the port is closed.
    pub(super) listener: Option<TcpListener>,
    pub(super) partner: SimulatedPartner,
    pub(super) service: S,
    /// Set while the keeper drops calls, so that they end as reset.
    pub(super) cut: Arc<AtomicBool>,
    pub(super) connections: JoinSet<()>,
    pub(super) commands: watch::Receiver<u64>,
    pub(super) follow: watch::Sender<u64>,
}

impl<S, B> Keeper<S>
where
    S: Service<Request<()>, Response = Response<B>, Error = PartnerError> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error = PartnerError> + Send + 'static,
{
    /// Serves until `stopped` resolves, because the server is shut down or dropped.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> io::Result<()> {
        let mut failed_tries = 0;
        let ended = loop {
            // Marked as seen before the phase is read. The next turn follows a command that comes
            // in between, and no command is reported as followed before it is.
            let command = *self.commands.borrow_and_update();
            let (phase, mut rest) = self.partner.phase_and_rest();
            match (phase == Phase::ConnectionRefused, &self.listener) {
                (true, Some(_)) => {
                    self.listener = None;
                    self.cut_connections().await;
                }
                (false, None) => match self.port.open() {
                    Ok(listener) => self.listener = Some(listener),
                    Err(error) if failed_tries == BIND_TRIES => break Err(error),
                    Err(_) => {
                        failed_tries += 1;
                        rest = Some(BIND_PAUSE);
                    }
                },
                (true, None) | (false, Some(_)) => {}
            }
            if self.listener.is_some() == (phase != Phase::ConnectionRefused) {
                failed_tries = 0;
                self.follow.send_if_modified(|followed| {
                    let news = *followed != command;
                    *followed = command;
                    news
                });
            }
            tokio::select! {
                _ = &mut stopped => break Ok(()),
                // Cannot fail: the sender lives in `partner`.
                _ = self.commands.changed() => {}
                () = tokio::time::sleep(rest.unwrap_or(Duration::MAX)), if rest.is_some() => {}
                stream = accept(self.listener.as_ref()) => {
                    self.connections.spawn(converse(stream, self.service.clone()));
                }
                Some(_) = self.connections.join_next() => {}
            }
        };
        self.listener = None;
        self.cut_connections().await;
        ended
    }

    async fn cut_connections(&mut self) {
        // Relaxed: after this store the runtime aborts the tasks that drop the calls.
        self.cut.store(true, Ordering::Relaxed);
        self.connections.shutdown().await;
        self.cut.store(false, Ordering::Relaxed);
    }
}

/// Returns the next connection; pending for ever without a listener.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Serves one connection until either side closes it.
async fn converse<S, B>(stream: TcpStream, service: S)
where
    S: Service<Request<()>, Response = Response<B>, Error = PartnerError> + Clone,
    B: Body<Data = Bytes, Error = PartnerError> + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let mut service = service.clone();
        async move {
            let (parts, mut body) = request.into_parts();
            // The body is read first: hyper notices that a client has left only if there is nothing
            // left to read.
            while let Some(frame) = body.frame().await {
                frame.map_err(|_| PartnerError::ConnectionReset)?;
            }
            service.call(Request::from_parts(parts, ())).await
        }
    });
    // Answers are small. A client shall not wait until more of them fill a packet.
    let _ = stream.set_nodelay(true);
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let Err(error) = Pin::new(&mut connection).await else {
        return;
    };
    if error
        .source()
        .is_some_and(|source| source.is::<PartnerError>())
    {
        let stream = connection.into_parts().io.into_inner();
        // Closing with a linger of zero sends a reset in place of an orderly end. If that fails,
        // the body is shorter than its `Content-Length`, which is a broken answer too.
        #[allow(
            deprecated,
            reason = "it can block only for a linger above zero; `set_zero_linger` is too new for \
                      the oldest tokio that this crate builds with"
        )]
        let _ = stream.set_linger(Some(Duration::ZERO));
    }
}
