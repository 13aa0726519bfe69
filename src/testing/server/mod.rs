//! The partner behind a real port.
//!
//! One task, the [keeper](keeper), owns the listener and every connection. A closed port is the one
//! thing that a service cannot simulate. An owner that is dropped leaves nothing behind. The keeper
//! follows the script's clock and the partner's commands. The service that it serves decides what
//! requests get.

mod keeper;
mod port;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
};
use tower::Service;

use self::{keeper::Keeper, port::Port};
use super::{
    partner::{CallRecord, Counts, PartnerError, SimulatedPartner},
    script::Phase,
};

/// The [`SimulatedPartner`] as an HTTP/1.1 server on a free port of 127.0.0.1, on real time.
///
/// It answers every path and method. Its [`partner`](Self::partner) decides on each call and
/// records it, as in memory. The server adds what needs a socket:
///
/// - [`ConnectionRefused`](Phase::ConnectionRefused): the port is closed and connections are cut.
///   Calls in flight over them end as [`ConnectionReset`](super::CallEnd::ConnectionReset). When
///   the phase is over, the same port is opened again. Calls to the closed port are not recorded.
/// - [`Hanging`](Phase::Hanging): the request is read, and the connection stays open. A call that
///   hangs still hangs after the phase, until its client leaves, as with a real partner that lost
///   the request. New requests get the new phase.
/// - [`ResetMidBody`](Phase::ResetMidBody): headers with a `Content-Length` and half of the body
///   are written, then the connection is closed with a TCP reset. A client that reads slowly may
///   see the reset before it sees them.
///
/// A request counts once it has been read to its end. It counts as answered once the answer is
/// written to the connection.
///
/// Dropping the server closes its port and connections when the runtime next runs.
/// [`shutdown`](Self::shutdown) waits for that. Do not pause tokio's clock around a server: time
/// would jump whenever every task waits for a socket.
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
/// let request = "GET /v1/prices HTTP/1.1\r\nhost: partner\r\nconnection: close\r\n\r\n";
/// client.write_all(request.as_bytes()).await?;
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
    /// The number of the last command that the port has followed.
    followed: watch::Receiver<u64>,
    /// Stops the keeper when it is dropped, by `shutdown` or with the server.
    stop: oneshot::Sender<()>,
    keeper: JoinHandle<io::Result<()>>,
}

impl PartnerServer {
    /// Serves `service`, which answers for `partner`. Sets `cut` while the server itself drops
    /// calls.
    pub(super) async fn serve<S, B>(
        partner: SimulatedPartner,
        service: S,
        cut: Arc<AtomicBool>,
    ) -> io::Result<Self>
    where
        S: Service<Request<()>, Response = Response<B>, Error = PartnerError>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error = PartnerError> + Send + 'static,
    {
        let (port, listener) = Port::open_free()?;
        let addr = port.addr();
        let commands = partner.commands();
        // No command was followed yet: commands are numbered from 1.
        let (follow, followed) = watch::channel(0);
        let (stop, stopped) = oneshot::channel();
        let keeper = Keeper {
            port,
            listener: Some(listener),
            partner: partner.clone(),
            service,
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
        // The script may begin with a closed port.
        server.settled().await?;
        Ok(server)
    }

    /// Returns `http://127.0.0.1:<port>`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Returns the address. It stays the same when the port is closed and opened again.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the partner behind the port: to break it, mend it and read its log.
    #[must_use]
    pub fn partner(&self) -> &SimulatedPartner {
        &self.partner
    }

    /// Returns what became of each request: the [log](SimulatedPartner::log) of the partner.
    #[must_use]
    pub fn log(&self) -> Vec<CallRecord> {
        self.partner.log()
    }

    /// Returns the number of requests by how they ended: the [counts](SimulatedPartner::counts) of
    /// the partner.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.partner.counts()
    }

    /// Puts the partner into `phase` as [`SimulatedPartner::switch_to`] does, and waits until the
    /// port has [followed](Self::settled).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) around the [`ScriptError`](super::ScriptError)
    /// if the phase is invalid, and those of [`settled`](Self::settled).
    ///
    /// # Cancel safety
    ///
    /// The phase is in force once the future has been polled. Dropping the future only ends the
    /// wait.
    pub async fn switch_to(&self, phase: Phase) -> io::Result<()> {
        self.partner
            .switch_to(phase)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.settled().await
    }

    /// Waits until the port has followed all commands given to the partner so far: closed if they
    /// ask for [`ConnectionRefused`](Phase::ConnectionRefused), open otherwise.
    ///
    /// The port follows the phases of a script by itself, within a few milliseconds.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the server has ended because its port could
    /// not be opened again. [`shutdown`](Self::shutdown) returns the reason.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
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
    /// If the server had ended before, because it could not open its port again after a phase of
    /// [`ConnectionRefused`](Phase::ConnectionRefused). It tries for five seconds.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the server, which stops all the same.
    pub async fn shutdown(self) -> io::Result<()> {
        let Self { stop, keeper, .. } = self;
        drop(stop);
        match keeper.await {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down and has dropped the keeper.
                Err(_cancelled) => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::Script;

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
