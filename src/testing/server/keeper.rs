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

/// How often a port that is still in use is tried again before the server gives up.
const BIND_TRIES: u32 = 50;
/// How long it waits in between; five seconds in all.
const BIND_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });
/// How long the keeper rests after a failed `accept`: out of file descriptors, for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Owns the listener and all connections, and closes both when it ends.
pub(super) struct Keeper<S> {
    pub(super) port: Port,
    /// `None` while nobody shall listen.
    pub(super) listener: Option<TcpListener>,
    pub(super) partner: SimulatedPartner,
    pub(super) service: S,
    /// Tells the calls that are about to be dropped who drops them.
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
    /// Serves until `stopped` resolves: the server is shut down or dropped.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> io::Result<()> {
        let mut failed_tries = 0;
        let ended = loop {
            // Marked as seen before the phase is read: a command in between is followed by the next
            // turn, and never reported as followed before it was.
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
                // The sender lives in `partner`.
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
        // Relaxed: the calls are dropped by tasks that the runtime aborts after this store.
        self.cut.store(true, Ordering::Relaxed);
        self.connections.shutdown().await;
        self.cut.store(false, Ordering::Relaxed);
    }
}

/// The next connection; never, if nobody listens.
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
            // Read first: hyper notices that a client has left only when nothing is left to read.
            while let Some(frame) = body.frame().await {
                frame.map_err(|_| PartnerError::ConnectionReset)?;
            }
            service.call(Request::from_parts(parts, ())).await
        }
    });
    // Answers are small; a client shall not wait for more of them.
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
        // Closing with a linger of zero sends a reset instead of an orderly end. Should it fail, the
        // body ends short of its promised length, which is a broken answer still.
        #[allow(
            deprecated,
            reason = "it may block for a linger above zero only; `set_zero_linger` is too new for \
                      the oldest tokio this crate builds with"
        )]
        let _ = stream.set_linger(Some(Duration::ZERO));
    }
}
