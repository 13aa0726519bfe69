//! Every call that leaves the billing app for the partner, written down where it leaves.
//!
//! The layer counts its calls, and so does the partner. The ledger is the third book, by which the
//! two are compared: it numbers each call in its query (`?call=17`), so that the partner's own log
//! can be matched with it call by call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    body::Bytes,
    http::{Request, Response, Uri},
};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error, connect::HttpConnector};
use tokio::time::Instant;
use tower_maintenance::testing::CallRecord;

use crate::timeline::now;

pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Shared by everything that calls the partner.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    calls: Arc<Mutex<Vec<Sent>>>,
    /// Whether the partner gets to see the numbers.
    numbered: bool,
}

/// One call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) by: By,
    /// When it came to the gate: a call of the app is stamped *before* the layer sees it, so that a
    /// trip which falls between the two stamps is no breach.
    pub(crate) entered: Instant,
    /// When it had passed the gate.
    pub(crate) left: Instant,
    pub(crate) answered: bool,
}

/// On whose behalf a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The app's own: a customer's, or its background job's.
    App,
    Ping,
}

/// When a request came to the gate; rides along in its extensions.
#[derive(Debug, Clone, Copy)]
struct Entered(Instant);

/// Stamps a request that is about to come to the gate.
pub(crate) fn enters(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.extensions_mut().insert(Entered(now()));
    request
}

impl Ledger {
    /// A ledger for a simulated partner, which sees the numbers in the query.
    pub(crate) fn numbered() -> Self {
        Self {
            calls: Arc::default(),
            numbered: true,
        }
    }

    /// A ledger for a real partner, whose URL is left as it is.
    pub(crate) fn silent() -> Self {
        Self {
            numbered: false,
            ..Self::numbered()
        }
    }

    /// Writes the call down, at once, and makes it when polled.
    pub(crate) fn send(
        &self,
        client: &HttpClient,
        by: By,
        mut request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<Response<Incoming>, Error>> + Send + use<> {
        let left = now();
        let entered = request.extensions().get().map_or(left, |Entered(at)| *at);
        let mut calls = self.lock();
        let number = calls.len();
        calls.push(Sent {
            by,
            entered,
            left,
            answered: false,
        });
        drop(calls);
        if self.numbered {
            *request.uri_mut() = with_number(request.uri(), number);
        }
        let answer = client.request(request);
        let ledger = self.clone();
        async move {
            let answer = answer.await;
            ledger.lock()[number].answered = answer.is_ok();
            answer
        }
    }

    pub(crate) fn calls(&self) -> Vec<Sent> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_number(uri: &Uri, number: usize) -> Uri {
    format!("{uri}?call={number}")
        .parse()
        .expect("a path without a query takes one")
}

/// The number under which a call in the partner's log stands in the ledger.
pub(crate) fn number(record: &CallRecord) -> Option<usize> {
    let (_, number) = record.target.as_deref()?.split_once("?call=")?;
    number.parse().ok()
}
