//! A partner that speaks as little HTTP/1 or HTTP/2 as a case needs.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const HALF_AN_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf";
/// The first bytes of a connection of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// With the last stream 0 and `NO_ERROR`: no request was processed.
const GRACEFUL_GOAWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";
const HEADERS: u8 = 1;

/// What a partner does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// Closes it unread.
    HangsUp,
    /// Reads and never answers.
    Hangs,
    /// Answers the first request, and closes the connection when it has read the second.
    AnswersOnce,
    /// Answers the first request, and closes the connection before the second.
    ClosesIdle,
    /// Breaks off in the middle of the answer.
    BreaksOff,
    /// Says no TLS.
    SpeaksNoTls,
    /// Closes the connection in good order when a request came, which it does not process.
    GoesAway,
}

/// A partner on loopback.
pub(crate) struct Partner {
    pub(crate) addr: SocketAddr,
    /// A line for each connection that its client has closed.
    pub(crate) closed: tokio::sync::mpsc::UnboundedReceiver<()>,
}

/// Starts a partner. It ends with the runtime.
pub(crate) async fn partner(does: Does) -> Partner {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (tell, closed) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let tell = tell.clone();
            tokio::spawn(async move {
                // An error is a client that has closed the connection.
                let _ = connection(stream, does).await;
                let _ = tell.send(());
            });
        }
    });
    Partner { addr, closed }
}

/// An address at which nothing listens.
pub(crate) async fn nothing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn connection(mut stream: TcpStream, does: Does) -> std::io::Result<()> {
    match does {
        Does::HangsUp => return Ok(()),
        Does::Hangs => {}
        Does::AnswersOnce => {
            request(&mut stream).await?;
            stream.write_all(ANSWER).await?;
            return request(&mut stream).await;
        }
        Does::ClosesIdle => {
            request(&mut stream).await?;
            stream.write_all(ANSWER).await?;
            stream.shutdown().await?;
        }
        Does::BreaksOff => {
            request(&mut stream).await?;
            return stream.write_all(HALF_AN_ANSWER).await;
        }
        Does::SpeaksNoTls => {
            stream.read_u8().await?;
            return stream.write_all(b"this is no TLS\r\n").await;
        }
        Does::GoesAway => {
            let mut preface = [0; PREFACE.len()];
            stream.read_exact(&mut preface).await?;
            stream.write_all(SETTINGS).await?;
            while frame(&mut stream).await? != HEADERS {}
            stream.write_all(GRACEFUL_GOAWAY).await?;
        }
    }
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Reads the head of a request without a body.
async fn request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(())
}

/// Reads a frame of HTTP/2, and returns its type.
async fn frame(stream: &mut TcpStream) -> std::io::Result<u8> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    Ok(head[3])
}
