//! A port that can be closed and opened again.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;
/// A port of 127.0.0.1 that can be closed and opened again.
pub(super) struct Port {
    addr: SocketAddr,
    /// Bound and never listening. While it lives, no other process is given the port when it is
    /// closed, and a connection to the closed port is refused.
    #[cfg(target_os = "linux")]
    _reservation: TcpSocket,
}

impl Port {
    /// Finds a free port and opens it.
    pub(super) fn open_free() -> io::Result<(Self, TcpListener)> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // Only on Linux can two sockets of one process be bound to one port, one of them listening,
        // so that connections are refused when neither listens. Elsewhere the keeper waits for a
        // port that is taken meanwhile.
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

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn open(&self) -> io::Result<TcpListener> {
        bind(self.addr)?.listen(BACKLOG)
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Old connections linger on the port and would keep it from being bound. On Windows they do
    // not, and the option has another meaning.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}
