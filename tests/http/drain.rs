//! The rest of a refused upload is read within bounds, and only where that helps.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{Router, body::Body, routing::post};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::BodyExt;
use test_support::{ScriptedBody, Step, now, secs, serve, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_maintenance::{
    MaintenanceLayer,
    http::{DrainRefused, LentBody},
};

use crate::support::hold;

const MIB: usize = 1024 * 1024;

fn app(layer: &MaintenanceLayer, most: u64, within: Duration) -> Router {
    let stack = ServiceBuilder::new()
        .layer(DrainRefused::new(most, within).unwrap())
        .map_request(|request: Request<LentBody<Body>>| request.map(Body::new))
        .layer(layer.routes());
    let length = async |upload: Bytes| upload.len().to_string();
    Router::new()
        .route("/upload", post(length))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(stack)
}

/// Reads the head of an answer.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Reads an answer, and returns its head.
async fn answer(stream: &mut TcpStream) -> String {
    let head = head(stream).await;
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length = length.split_once("\r\n").unwrap().0.parse().unwrap();
    soon(stream.read_exact(&mut vec![0; length])).await.unwrap();
    head
}

async fn send_head(addr: SocketAddr, more: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let head = format!("POST /upload HTTP/1.1\r\nhost: ours\r\n{more}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_writes_first_and_reads_afterwards_sees_the_refusal() {
    let layer = MaintenanceLayer::new("zuora");
    let addr = serve(app(&layer, 32 * MIB as u64, secs(30))).await;
    hold(&layer.handle());
    let upload = vec![b'x'; 20 * MIB];
    for form in ["content-length: 20971520", "transfer-encoding: chunked"] {
        let mut stream = send_head(addr, form).await;
        if form.starts_with('t') {
            soon(stream.write_all(b"1400000\r\n")).await.unwrap();
        }
        soon(stream.write_all(&upload)).await.unwrap();
        if form.starts_with('t') {
            soon(stream.write_all(b"\r\n0\r\n\r\n")).await.unwrap();
        }
        let refused = answer(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        // The connection goes on.
        layer.handle().release("on-call", "over").unwrap();
        let next = b"POST /upload HTTP/1.1\r\nhost: ours\r\ncontent-length: 3\r\n\r\nabc";
        soon(stream.write_all(next)).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
        hold(&layer.handle());
    }
}

#[tokio::test]
async fn nothing_is_read_where_it_does_not_help() {
    let layer = MaintenanceLayer::new("zuora");
    let addr = serve(app(&layer, 1_000, secs(30))).await;
    hold(&layer.handle());
    for form in [
        // Longer than the bound.
        "content-length: 1001",
        // The client waits to be told, and is told no.
        "content-length: 1000\r\nexpect: 100-continue",
    ] {
        let mut stream = send_head(addr, form).await;
        let refused = answer(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{form}: {refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_upload_is_read_within_its_bounds() {
    let layer = MaintenanceLayer::new("zuora");
    hold(&layer.handle());
    let ours = service_fn(async |_: Request<LentBody<ScriptedBody>>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let drain = DrainRefused::new(10, secs(3)).unwrap();
    let gated = drain.layer(layer.paths().layer(ours));
    let ask = async |version, steps: Vec<Step>| {
        let mut request = Request::post("/upload")
            .body(ScriptedBody::of(steps))
            .unwrap();
        *request.version_mut() = version;
        let began = now();
        let refused = gated.clone().oneshot(request).await.unwrap();
        assert_eq!(refused.status(), 503);
        began.elapsed()
    };
    let data = Step::data(b"12345");
    for (steps, took) in [
        (vec![], secs(0)),
        (
            vec![Step::After(secs(1)), data.clone(), Step::After(secs(1))],
            secs(2),
        ),
        // Never longer than the bound in time, and never more than the bound in bytes.
        (vec![data.clone(), Step::Hangs], secs(3)),
        (
            vec![data.clone(), data.clone(), data.clone(), Step::Hangs],
            secs(0),
        ),
        (vec![Step::Repeats(Bytes::from_static(b"x"))], secs(0)),
        (vec![Step::Repeats(Bytes::new())], secs(0)),
        (vec![data.clone(), Step::BreaksOff, Step::Hangs], secs(0)),
    ] {
        let told = format!("{steps:?}");
        assert_eq!(ask(Version::HTTP_11, steps).await, took, "{told}");
    }
    // A stream of HTTP/2 is ended by itself.
    assert_eq!(ask(Version::HTTP_2, vec![data, Step::Hangs]).await, secs(0));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_refusal_is_not_waited_for_and_its_body_is_untouched() {
    let layer = MaintenanceLayer::new("zuora");
    let ours = service_fn(async |request: Request<LentBody<ScriptedBody>>| {
        let wants = request.uri().path() == "/read";
        let length = match wants {
            true => request
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .len(),
            false => 0,
        };
        Ok::<_, Infallible>(Response::new(length.to_string()))
    });
    let drain = DrainRefused::new(10, secs(3)).unwrap();
    let mut gated = drain.layer(layer.paths().layer(ours));
    let mut ask = async |path: &str, steps: Vec<Step>| {
        let request = Request::post(path).body(ScriptedBody::of(steps)).unwrap();
        gated
            .ready()
            .await
            .unwrap()
            .call(request)
            .await
            .unwrap()
            .into_body()
    };
    let data = Step::data(b"1234567");
    assert_eq!(ask("/read", vec![data.clone(), data.clone()]).await, "14");
    let began = now();
    assert_eq!(ask("/ignored", vec![data, Step::Hangs]).await, "0");
    assert_eq!(began.elapsed(), secs(0));
}

#[test]
fn a_drain_without_a_bound_is_an_error_that_names_it() {
    for (bytes, time, error) in [
        (0, secs(1), "bytes is `0`: allowed is 1 or more"),
        (
            1,
            secs(0),
            "time is `0ns`: allowed is more than 0 s, at most 60s",
        ),
        (
            1,
            secs(61),
            "time is `61s`: allowed is more than 0 s, at most 60s",
        ),
    ] {
        assert_eq!(
            DrainRefused::new(bytes, time).unwrap_err().to_string(),
            error
        );
    }
}
