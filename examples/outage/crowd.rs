//! The customers. The time and the purpose of each visit are fixed beforehand, whatever answers the
//! customers get.
//!
//! Customers that waited for their answers would send fewer requests to a partner that hangs, so
//! the run without the layer would look better than it is. With fixed times both runs get the same
//! visits.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Bytes,
    http::{Method, Request, Response, StatusCode, header},
};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{ledger::HttpClient, timeline::now};

/// How many customers there are; each keeps its connection.
const CUSTOMERS: usize = 40;

/// What a customer, or the partner, or a load balancer wants of the billing app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    Prices,
    Subscribe,
    Invoice,
    Webhook,
    Health,
}

impl Errand {
    /// Whether it is documented that maintenance does not touch it.
    pub(crate) fn is_exempt(self) -> bool {
        match self {
            Self::Prices | Self::Subscribe => false,
            Self::Invoice | Self::Webhook | Self::Health => true,
        }
    }

    fn request(self, app: SocketAddr, customer: usize) -> Request<Full<Bytes>> {
        let (method, path) = match self {
            Self::Prices => (Method::GET, "/billing/prices".to_owned()),
            Self::Subscribe => (Method::POST, "/billing/subscriptions".to_owned()),
            Self::Invoice => (Method::GET, format!("/billing/invoices/{customer}")),
            Self::Webhook => (Method::POST, "/webhooks/partner".to_owned()),
            Self::Health => (Method::GET, "/health/live".to_owned()),
        };
        Request::builder()
            .method(method)
            .uri(format!("http://{app}{path}"))
            .body(Full::default())
            .expect("its parts are valid")
    }
}

/// One request to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit {
    /// When, counted from the beginning of the run.
    pub(crate) at: Duration,
    customer: usize,
    pub(crate) errand: Errand,
}

/// What the crowd may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    ReadAndWrite,
    /// No customer subscribes: with a real partner that would be a charge.
    ReadOnly,
}

/// Draws the visits of a run: spread evenly at random over its length, in order.
pub(crate) fn visits(seed: u64, count: usize, length: Duration, manners: Manners) -> Vec<Visit> {
    let mut dice = SplitMix64(seed);
    let mut visits: Vec<_> = (0..count)
        .map(|_| Visit {
            at: length.mul_f64(dice.share()),
            customer: (dice.next() % CUSTOMERS as u64) as usize,
            errand: match dice.next() % 100 {
                0..35 => Errand::Prices,
                35..60 if manners == Manners::ReadOnly => Errand::Prices,
                35..60 => Errand::Subscribe,
                60..85 => Errand::Invoice,
                85..95 => Errand::Webhook,
                _ => Errand::Health,
            },
        })
        .collect();
    visits.sort_by_key(|visit| visit.at);
    visits
}

/// The same seed shall be the same crowd on every machine and in every release of Rust.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to less than 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What became of a visit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) visit: Visit,
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
    pub(crate) met: Met,
}

/// What a customer met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// An answer; and the price it named, if it named one.
    Served { price: Option<u64> },
    /// A clean refusal: "not processed, come back in so many seconds".
    Refused,
    /// Anything worse.
    Failed(Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    ErrorPage,
    /// The app gave up waiting for the partner, and said so.
    TimedOut,
    /// The customer gave up waiting for the app.
    Unanswered,
    Broken,
}

/// The customers of one billing app, and what they tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crowd {
    accounts: Arc<Mutex<Vec<Account>>>,
}

impl Crowd {
    /// Makes all visits, each at its time counted from `began`; over when the last one is.
    pub(crate) async fn visit(
        self,
        app: SocketAddr,
        visits: Arc<[Visit]>,
        began: Instant,
        patience: Duration,
    ) {
        let customers: Vec<HttpClient> = (0..CUSTOMERS)
            .map(|_| Client::builder(TokioExecutor::new()).build_http())
            .collect();
        let mut under_way = JoinSet::new();
        for visit in visits.iter().copied() {
            sleep_until(began + visit.at).await;
            let client = customers[visit.customer].clone();
            let request = visit.errand.request(app, visit.customer);
            let accounts = self.accounts.clone();
            under_way.spawn(async move {
                let sent = now();
                let met = timeout(patience, ask(&client, request))
                    .await
                    .unwrap_or(Met::Failed(Fault::Unanswered));
                let account = Account {
                    visit,
                    sent,
                    ended: now(),
                    met,
                };
                accounts
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(account);
            });
        }
        // A visit that panics would be missing from the accounts, and the counts would not add up.
        under_way.join_all().await;
    }

    /// What was told so far.
    pub(crate) fn accounts(&self) -> Vec<Account> {
        self.accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn ask(client: &HttpClient, request: Request<Full<Bytes>>) -> Met {
    let Ok(response) = client.request(request).await else {
        return Met::Failed(Fault::Broken);
    };
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await else {
        return Met::Failed(Fault::Broken);
    };
    let response = Response::from_parts(head, body.to_bytes());
    let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    match response.status() {
        StatusCode::GATEWAY_TIMEOUT => Met::Failed(Fault::TimedOut),
        _ if is_clean_refusal(&response, &answer) => Met::Refused,
        status if status.is_server_error() => Met::Failed(Fault::ErrorPage),
        _ => Met::Served {
            price: answer["basic"].as_u64(),
        },
    }
}

/// A 503 that tells a program all it must know: nothing was processed, when to come back, and that
/// no cache may keep it.
fn is_clean_refusal(response: &Response<Bytes>, answer: &Value) -> bool {
    let says = |name, wanted: &str| response.headers().get(name).is_some_and(|is| is == wanted);
    response.status() == StatusCode::SERVICE_UNAVAILABLE
        && says(header::CONTENT_TYPE, "application/problem+json")
        && says(header::CACHE_CONTROL, "private, no-store")
        && response.headers().contains_key(header::RETRY_AFTER)
        && answer["processed"] == false
}
