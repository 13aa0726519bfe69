//! The partner behind a real port.
//!
//! One task, the keeper, owns the listener and every connection: a port that is closed when nobody
//! listens is the one thing that cannot be simulated inside a service, and an owner that is dropped
//! leaves nothing behind. The keeper follows the script's clock and the partner's commands; what the
//! requests get is decided elsewhere.

use std::{
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Request;
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
};
use tower::Service;

use super::{
    http::HttpPartner,
    partner::{CallRecord, Counts, PartnerError, SimulatedPartner},
    script::{Phase, Script},
};

/// How often a port that is still in use is tried again before the server gives up.
const BIND_TRIES: u32 = 50;
/// How long it waits in between; five seconds in all.
const BIND_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long the keeper rests after a failed `accept`: out of file descriptors, for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The [`SimulatedPartner`] as an HTTP/1.1 server on a free port of 127.0.0.1, on real time.
///
/// It answers every path and method. What it answers when, which calls it had and what became of
/// them is its [`partner`](Self::partner)'s matter, the same as in memory; the server adds what only
/// a socket can do:
///
/// - [`ConnectionRefused`](Phase::ConnectionRefused): the port is closed, connections are cut, calls
///   in flight over them end as [`ConnectionReset`](super::CallEnd::ConnectionReset). When the phase
///   is over the same port is opened again. Calls that met a closed port are nowhere recorded.
/// - [`Hanging`](Phase::Hanging): the request is read and the connection stays; a call that hangs
///   goes on hanging after the phase, as it does with a real partner that lost the request, until
///   its client leaves. New requests get the new phase.
/// - [`ResetMidBody`](Phase::ResetMidBody): headers with a `Content-Length` and half of the body are
///   written, then the connection is closed with a TCP reset. A client that is slow to read may see
///   the reset before it has seen them.
///
/// A request counts once it has been read to its end, and as answered once the answer is written to
/// the connection.
///
/// Dropping the server closes port and connections a moment later, when the runtime next runs;
/// [`shutdown`](Self::shutdown) waits for it. Do not pause tokio's clock around a server: time would
/// jump whenever everybody waits for the socket.
///
/// ```
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::TcpStream;
/// use tower_maintenance::testing::{Phase, SimulatedPartner};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let partner = SimulatedPartner::healthy();
/// let server = partner.listen().await?;
///
/// let mut client = TcpStream::connect(server.addr()).await?;
/// client.write_all(b"GET /v1/prices HTTP/1.1\r\nhost: partner\r\nconnection: close\r\n\r\n").await?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer).await?;
/// assert!(answer.starts_with("HTTP/1.1 200 OK"));
/// assert_eq!(partner.calls_to("/v1/prices"), 1);
///
/// server.switch_to(Phase::ConnectionRefused).await?;
/// assert!(TcpStream::connect(server.addr()).await.is_err());
/// server.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping the server stops it"]
pub struct PartnerServer {
    partner: SimulatedPartner,
    addr: SocketAddr,
    /// Which of the partner's commands the port follows.
    followed: watch::Receiver<u64>,
    /// Stops the keeper when dropped, be it by `shutdown` or with the server.
    stop: oneshot::Sender<()>,
    keeper: JoinHandle<io::Result<()>>,
}

impl PartnerServer {
    /// A server for a partner of its own that follows `script`, whose clock starts now.
    ///
    /// # Errors
    ///
    /// If the port cannot be opened.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO and time enabled.
    pub async fn start(script: Script, seed: u64) -> io::Result<Self> {
        SimulatedPartner::new(script, seed).listen().await
    }

    pub(super) async fn serve(service: HttpPartner) -> io::Result<Self> {
        let (port, listener) = Port::open_free()?;
        let addr = port.addr;
        let partner = service.partner().clone();
        let commands = partner.commands();
        // None yet: commands are numbered from 1.
        let (follow, followed) = watch::channel(0);
        let (stop, stopped) = oneshot::channel();
        let cut = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            port,
            listener: Some(listener),
            service: service.cut_by(Arc::clone(&cut)),
            cut,
            connections: JoinSet::new(),
            commands,
            follow,
        };
        let server = Self {
            partner,
            addr,
            followed,
            stop,
            keeper: tokio::spawn(keeper.run(stopped)),
        };
        // A script may begin with a closed port.
        server.settled().await?;
        Ok(server)
    }

    /// `http://127.0.0.1:<port>`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The address; it stays the same whatever the phases do to the port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The partner behind the port: to break it, mend it and ask it.
    #[must_use]
    pub fn partner(&self) -> &SimulatedPartner {
        &self.partner
    }

    /// What became of each request: the [log](SimulatedPartner::log) of the partner.
    #[must_use]
    pub fn log(&self) -> Vec<CallRecord> {
        self.partner.log()
    }

    /// How many requests ended how: the [counts](SimulatedPartner::counts) of the partner.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.partner.counts()
    }

    /// Puts the partner into `phase` as [`SimulatedPartner::switch_to`] does, and waits until the
    /// port has [followed](Self::settled).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) around the
    /// [`ScriptError`](super::ScriptError) if the phase cannot be, and as [`settled`](Self::settled).
    ///
    /// # Cancel safety
    ///
    /// The phase is in force once the future has been polled; dropping it only ends the waiting.
    pub async fn switch_to(&self, phase: Phase) -> io::Result<()> {
        self.partner
            .switch_to(phase)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.settled().await
    }

    /// Waits until the port has followed all commands given to the partner so far: is closed if
    /// they ask for [`ConnectionRefused`](Phase::ConnectionRefused), open if not.
    ///
    /// A script's own phases are followed as their time comes, within a few milliseconds.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server has ended because its port could
    /// not be opened again; [`shutdown`](Self::shutdown) tells why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn settled(&self) -> io::Result<()> {
        let asked = *self.partner.commands().borrow();
        let mut followed = self.followed.clone();
        match followed.wait_for(|followed| *followed >= asked).await {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the simulated partner could not open its port again",
            )),
        }
    }

    /// Closes the port and all connections, and waits until that is done. Calls in flight end as
    /// [`ConnectionReset`](super::CallEnd::ConnectionReset).
    ///
    /// # Errors
    ///
    /// If the server had ended before because it could not open its port again after a phase of
    /// [`ConnectionRefused`](Phase::ConnectionRefused): it tries for five seconds.
    ///
    /// # Cancel safety
    ///
    /// A server whose `shutdown` is dropped is dropped itself: it stops all the same.
    pub async fn shutdown(self) -> io::Result<()> {
        let Self { stop, keeper, .. } = self;
        drop(stop);
        match keeper.await {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down, and has dropped the keeper with all it had.
                Err(_cancelled) => Ok(()),
            },
        }
    }
}

/// Owns the listener and all connections, and closes both when it ends.
struct Keeper {
    port: Port,
    /// `None` while nobody shall listen.
    listener: Option<TcpListener>,
    service: HttpPartner,
    /// Tells the calls that are about to be dropped who drops them.
    cut: Arc<AtomicBool>,
    connections: JoinSet<()>,
    commands: watch::Receiver<u64>,
    follow: watch::Sender<u64>,
}

impl Keeper {
    /// Serves until `stopped` resolves: the server is shut down or dropped.
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> io::Result<()> {
        let mut failed_tries = 0;
        let ended = loop {
            // Marked as seen before the phase is read: a command in between is followed by the next
            // turn, and never reported as followed before it was.
            let command = *self.commands.borrow_and_update();
            let (phase, mut rest) = self.service.partner().phase_and_rest();
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
                // The sender lives in the partner, which `service` holds.
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
async fn converse(stream: TcpStream, partner: HttpPartner) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut partner = partner.clone();
        async move {
            let (parts, mut body) = request.into_parts();
            // Read first: hyper notices that a client has left only when nothing is left to read.
            while let Some(frame) = body.frame().await {
                frame.map_err(|_| PartnerError::ConnectionReset)?;
            }
            partner.call(Request::from_parts(parts, ())).await
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

/// A port of 127.0.0.1 that can be closed and opened again.
struct Port {
    addr: SocketAddr,
    /// Bound, never listening: as long as it lives, nobody else on this machine is given the port
    /// while it is closed, and connecting to it is refused.
    #[cfg(target_os = "linux")]
    _reservation: TcpSocket,
}

impl Port {
    /// Finds a free port and opens it.
    fn open_free() -> io::Result<(Self, TcpListener)> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // Only Linux lets two sockets of one process be bound to a port of which one listens, and
        // still refuses connections when none does; elsewhere a port that is taken meanwhile is
        // waited for.
        #[cfg(target_os = "linux")]
        {
            let reservation = bind(any)?;
            let addr = reservation.local_addr()?;
            let port = Self {
                addr,
                _reservation: reservation,
            };
            let listener = port.open()?;
            Ok((port, listener))
        }
        #[cfg(not(target_os = "linux"))]
        {
            let listener = bind(any)?.listen(BACKLOG)?;
            let addr = listener.local_addr()?;
            Ok((Self { addr }, listener))
        }
    }

    fn open(&self) -> io::Result<TcpListener> {
        bind(self.addr)?.listen(BACKLOG)
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections of the time before linger on the port; on Windows they do not stand in the way,
    // and the option would mean something else.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_stays_taken_ends_the_server_and_says_so() {
        let cap = |switched| tokio::time::timeout(Duration::from_secs(30), switched);
        let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
        let refused = cap(server.switch_to(Phase::ConnectionRefused)).await;
        refused.unwrap().unwrap();
        let thief = std::net::TcpListener::bind(server.addr()).unwrap();
        let mended = cap(server.switch_to(Phase::Healthy)).await;
        let error = mended.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        let error = server.shutdown().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(thief);
    }
}
