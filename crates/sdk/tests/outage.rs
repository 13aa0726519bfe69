//! The SDK behind the layer, through a whole outage of its API.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::{
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{Method, StatusCode},
};
use sdk_tests::Stripe;
use serde_json::{Value, json};
use stripe::{Client, ClientBuilder, RequestStrategy, StripeError};
use stripe_core::payment_intent::{CreatePaymentIntent, RetrievePaymentIntent};
use stripe_shared::PaymentIntent;
use stripe_types::Currency;
use test_support::{soon, until};
use tokio::net::TcpListener;
use tower_maintenance::{Calls, Error, MaintenanceLayer, Mode, Policy};

const CREATE: &str = "payment_intent.create";
const RETRIEVE: &str = "payment_intent.retrieve";

/// What the API does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Works,
    Declines,
    Fails,
    Hangs,
}

/// As much of the API as the tests need.
#[derive(Debug, Clone)]
struct Api(Arc<Mutex<(Does, Vec<Method>)>>);

impl Api {
    async fn start() -> (Self, SocketAddr) {
        let api = Self(Arc::new(Mutex::new((Does::Works, vec![]))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (api, addr)
    }

    fn does(&self, does: Does) {
        self.0.lock().unwrap().0 = does;
    }

    /// Returns the methods of the requests since the last look.
    fn asked(&self) -> Vec<Method> {
        std::mem::take(&mut self.0.lock().unwrap().1)
    }
}

async fn answer(State(api): State<Api>, method: Method) -> (StatusCode, Json<Value>) {
    let does = {
        let mut state = api.0.lock().unwrap();
        state.1.push(method);
        state.0
    };
    match does {
        Does::Works => (StatusCode::OK, Json(payment_intent())),
        Does::Declines => {
            let declined = json!({ "type": "card_error", "code": "card_declined" });
            (
                StatusCode::PAYMENT_REQUIRED,
                Json(json!({ "error": declined })),
            )
        }
        Does::Fails => {
            let failed = json!({ "type": "api_error" });
            (
                StatusCode::SERVICE_UNAVAILABLE,
                Json(json!({ "error": failed })),
            )
        }
        Does::Hangs => pending().await,
    }
}

fn payment_intent() -> Value {
    json!({
        "id": "pi_1", "object": "payment_intent", "status": "requires_payment_method",
        "amount": 1900, "amount_capturable": 0, "amount_received": 0, "currency": "eur",
        "capture_method": "automatic", "confirmation_method": "automatic", "created": 1,
        "livemode": false, "metadata": {}, "payment_method_types": ["card"],
    })
}

/// The SDK, with retries of its own off and a time limit.
fn client(addr: SocketAddr) -> Client {
    ClientBuilder::new("sk_test_loopback")
        .url(format!("http://{addr}/"))
        .request_strategy(RequestStrategy::Once)
        .timeout(Duration::from_millis(300))
        .build()
        .unwrap()
}

/// The SDK behind the layer.
struct Billing {
    sdk: Client,
    layer: MaintenanceLayer<Calls<Stripe>>,
}

type Called = Result<PaymentIntent, Error<StripeError>>;

impl Billing {
    fn new(addr: SocketAddr) -> Self {
        let wait = Duration::from_millis(100);
        let policy = Policy::default().with_wait(wait).with_jitter(0.0);
        let layer = MaintenanceLayer::builder("stripe").policy(policy).build();
        Self {
            sdk: client(addr),
            layer: layer.unwrap().judged(Stripe),
        }
    }

    async fn charge(&self) -> Called {
        let charge = CreatePaymentIntent::new(1900, Currency::EUR);
        soon(self.layer.run(CREATE, charge.send(&self.sdk))).await
    }

    async fn look(&self) -> Called {
        let look = RetrievePaymentIntent::new("pi_1");
        soon(self.layer.run(RETRIEVE, look.send(&self.sdk))).await
    }

    fn mode(&self) -> Mode {
        self.layer.handle().mode()
    }

    /// Calls until the layer trips.
    async fn trips(&self) {
        for _ in 0..5 {
            assert_eq!(self.mode(), Mode::Serving);
            assert!(matches!(self.charge().await, Err(Error::Inner(_))));
        }
        assert_eq!(self.mode(), Mode::Maintenance);
    }

    /// Waits until the layer probes, and proves by reads that the partner is back.
    async fn recovers(&self, api: &Api) {
        let mut signal = self.layer.handle().cache_bust();
        until(|| self.mode() == Mode::Probing).await;
        api.does(Does::Works);
        api.asked();
        assert!(is_refused(&self.charge().await), "a charge is no probe");
        for _ in 0..3 {
            assert_eq!(self.mode(), Mode::Probing);
            assert_eq!(self.look().await.unwrap().amount, 1900);
        }
        assert_eq!(self.mode(), Mode::Serving);
        assert_eq!(api.asked(), [Method::GET; 3]);
        let told = soon(signal.recv()).await.unwrap();
        assert_eq!(told.generation, self.layer.handle().status().generation);
        assert_eq!(self.charge().await.unwrap().amount, 1900);
    }
}

fn is_refused(called: &Called) -> bool {
    matches!(called, Err(Error::Refused(_)))
}

#[tokio::test]
async fn an_outage_trips_refuses_probes_and_recovers() {
    let (api, addr) = Api::start().await;
    let billing = Billing::new(addr);
    assert_eq!(billing.charge().await.unwrap().amount, 1900);

    for broken in [Does::Fails, Does::Hangs] {
        api.does(broken);
        billing.trips().await;
        api.asked();
        // No wait is over before the mode is looked at, so each of these is refused, or is the
        // charge that may not probe.
        for _ in 0..20 {
            assert!(is_refused(&billing.charge().await));
        }
        assert!(api.asked().is_empty(), "the partner is left alone");
        billing.recovers(&api).await;
    }
    let status = billing.layer.handle().status();
    assert_eq!((status.calls.failed, status.calls.refused), (10, 42));
}

#[tokio::test]
async fn a_partner_that_cannot_be_reached_trips() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    Billing::new(addr).trips().await;
}

#[tokio::test]
async fn declined_cards_in_a_row_do_not_trip() {
    let (api, addr) = Api::start().await;
    let billing = Billing::new(addr);
    api.does(Does::Declines);
    for _ in 0..10 {
        let declined = billing.charge().await;
        let Err(Error::Inner(StripeError::Stripe(_, status))) = declined else {
            panic!("{declined:?}")
        };
        assert_eq!(status, 402);
    }
    assert_eq!(billing.mode(), Mode::Serving);
    let calls = billing.layer.handle().status().calls;
    assert_eq!((calls.succeeded, calls.failed), (10, 0));

    // Without the judge every `Err` is a failure, and five declined cards trip.
    let layer = MaintenanceLayer::new("stripe");
    for _ in 0..5 {
        let charge = CreatePaymentIntent::new(1900, Currency::EUR);
        let declined = layer.run(CREATE, charge.send(&billing.sdk)).await;
        assert!(matches!(declined, Err(Error::Inner(_))));
    }
    assert_eq!(layer.handle().mode(), Mode::Maintenance);
}

#[test]
fn the_judge_of_the_guide_is_the_one_that_is_tried() {
    let page = include_str!("../../../src/guide/sdks.rs");
    let code = include_str!("../src/lib.rs");
    let (_, judge) = code.split_once("/// Judges calls through").unwrap();
    let judge = format!("/// Judges calls through{judge}");
    let as_docs: String = judge
        .lines()
        .map(|line| format!("//! {line}").trim_end().to_owned() + "\n")
        .collect();
    assert!(page.contains(&as_docs), "the page must have:\n{as_docs}");
}
