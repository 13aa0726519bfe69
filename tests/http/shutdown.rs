//! A graceful shutdown lets probes, pings and spawned calls end.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, routing::get};
use http::{Request, Response, StatusCode};
use test_support::soon;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{MaintenanceHandle, MaintenanceLayer, Mode};

/// A partner whose answers wait for a permit, and that tells when it is asked.
#[derive(Clone)]
struct Partner {
    asked: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

impl Partner {
    fn new() -> Self {
        Self {
            asked: Arc::new(Semaphore::new(0)),
            answers: Arc::new(Semaphore::new(0)),
        }
    }

    async fn answer(self) -> Result<Response<String>, Infallible> {
        self.asked.add_permits(1);
        self.answers.acquire().await.unwrap().forget();
        Ok(Response::new("12 EUR".to_owned()))
    }

    async fn is_asked(&self) {
        soon(self.asked.acquire()).await.unwrap().forget();
    }
}

/// Calls the partner through the layer.
async fn price(layer: MaintenanceLayer, partner: Partner) -> StatusCode {
    let client = service_fn(move |_: Request<String>| partner.clone().answer());
    let call = layer.http_calls().layer(client);
    match call.oneshot(Request::new(String::new())).await {
        Ok(answer) => {
            // The call ends with its body.
            let (head, body) = answer.into_parts();
            axum::body::to_bytes(axum::body::Body::new(body), 64)
                .await
                .unwrap();
            head.status
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn probe(handle: &MaintenanceHandle) {
    handle.trip("test", "drill").unwrap();
    handle.probe_now("test", "drill").unwrap();
    assert_eq!(handle.mode(), Mode::Probing);
}

/// A server that shuts down gracefully when it is told to.
struct Server {
    url: String,
    shut: oneshot::Sender<()>,
    ends: JoinHandle<()>,
}

async fn serve(layer: &MaintenanceLayer, partner: &Partner) -> Server {
    let (layer, partner) = (layer.clone(), partner.clone());
    let app = Router::new().route(
        "/price",
        get(async move || price(layer.clone(), partner.clone()).await),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/price", listener.local_addr().unwrap());
    let (shut, told) = oneshot::channel::<()>();
    let ends = tokio::spawn(async move {
        let stop = async move { told.await.unwrap_or_default() };
        let serving = axum::serve(listener, app).with_graceful_shutdown(stop);
        serving.await.unwrap();
    });
    Server { url, shut, ends }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_in_a_customers_request_ends_before_the_server_does() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let partner = Partner::new();
    let server = serve(&layer, &partner).await;
    probe(&handle);
    let customer = tokio::spawn(reqwest_get(server.url));
    partner.is_asked().await;
    server.shut.send(()).unwrap();
    // The probe is in flight, so the server goes on.
    assert_eq!(handle.status().calls.in_flight(), 1);
    assert!(!server.ends.is_finished());
    partner.answers.add_permits(1);
    soon(server.ends).await.unwrap();
    assert_eq!(soon(customer).await.unwrap(), 200);
    soon(handle.wait_until_idle()).await;
    assert_eq!(handle.status().probing.unwrap().successes, 1);
    assert_eq!(handle.status().calls.abandoned, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_a_ping_and_a_spawned_call_are_waited_for_after_the_server() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let partner = Partner::new();
    let server = serve(&layer, &partner).await;
    // A call that no request waits for.
    let spawned = tokio::spawn(price(layer.clone(), partner.clone()));
    partner.is_asked().await;
    // And a check that is under way.
    let ping = tokio::spawn(handle.ping({
        let partner = partner.clone();
        move || partner.clone().answer()
    }));
    probe(&handle);
    partner.is_asked().await;
    assert_eq!(handle.status().calls.in_flight(), 2);

    server.shut.send(()).unwrap();
    soon(server.ends).await.unwrap();
    let mut idle = tokio_test::task::spawn(handle.wait_until_idle());
    tokio_test::assert_pending!(idle.poll());
    partner.answers.add_permits(1);
    partner.answers.add_permits(1);
    soon(idle).await;
    ping.abort();
    assert_eq!(soon(spawned).await.unwrap(), 200);
    let status = handle.status();
    assert_eq!(status.calls.abandoned, 0, "{status}");
    assert_eq!(status.probing.unwrap().successes, 1);
}

async fn reqwest_get(url: String) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).send().await.unwrap().status().as_u16()
}
