//! A client and a server over loopback sockets.

use std::{fmt::Debug, net::SocketAddr};

use axum::Router;
use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::soon;

/// A client for plain HTTP.
pub type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Builds a client with a pool of its own.
#[must_use]
pub fn http_client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Serves the routes on a port of their own until the runtime ends, and returns where.
///
/// # Panics
///
/// If loopback has no free port.
pub async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("loopback has a free port");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(axum::serve(listener, app).into_future());
    addr
}

/// Reads the body of an answer to its end.
///
/// # Panics
///
/// If the body breaks off.
pub async fn collected<B: Body<Error: Debug>>(answer: Response<B>) -> Response<Bytes> {
    let (head, body) = answer.into_parts();
    let body = soon(body.collect()).await.expect("the body comes whole");
    Response::from_parts(head, body.to_bytes())
}

/// Sends these bytes on a connection of their own, and returns all that comes back as text.
///
/// # Panics
///
/// If the server cannot be reached, resets the connection, or answers what is not UTF-8.
pub async fn exchange(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    soon(async {
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        let sent = stream.write_all(bytes.as_ref()).await;
        sent.expect("it reads what is sent");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer).await;
        read.expect("it answers in UTF-8, and hangs up");
        answer
    })
    .await
}
