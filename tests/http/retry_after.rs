//! How long a partner asks to be left alone, over real sockets: R10 in `Serving`, R14 in `Probing`.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::State};
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body_util::Full;
use test_support::{CAP, HttpClient, collected, http_client, serve, soon};
use tower::{Layer, ServiceExt};
use tower_maintenance::{
    Maintenance, MaintenanceHandle, MaintenanceLayer, Policy, Rule,
    http::HttpCalls,
    testing::{assert_in_maintenance, assert_probing, assert_serving, assert_tripped},
};

const WAIT: Duration = Duration::from_secs(600);
const ASKED: Duration = Duration::from_secs(1800);

/// Headers that ask for [`ASKED`], each in its own way. The dates need not be near the real time.
const ASKING: &[&[(&str, &str)]] = &[
    &[("retry-after", "1800")],
    &[("retry-after", "1800.0")],
    &[("retry-after", "1799.05")],
    &[("retry-after-ms", "1800000")],
    &[("x-ms-retry-after-ms", "1800000"), ("retry-after", "7")],
    &[
        ("date", "Wed, 31 Jul 2024 20:05:00 GMT"),
        ("retry-after", "Wed, 31 Jul 2024 20:35:00 GMT"),
    ],
    &[
        ("date", "Fri, 31 Dec 2100 23:45:00 GMT"),
        ("retry-after", "Sat, 01 Jan 2101 00:15:00 GMT"),
        ("ratelimit", r#""default";r=0;t=7"#),
    ],
    &[("ratelimit", r#""minute";r=3;t=59, "day";r=0;t=1800"#)],
    &[
        ("ratelimit-limit", "50000"),
        ("ratelimit-remaining", "0"),
        ("ratelimit-reset", "1800"),
    ],
];

/// Headers that ask for nothing.
const SILENT: &[&[(&str, &str)]] = &[
    &[],
    &[
        ("date", "Wed, 31 Jul 2024 20:35:00 GMT"),
        ("retry-after", "Wed, 31 Jul 2024 20:05:00 GMT"),
    ],
    &[("retry-after", "-1800")],
    &[("retry-after", "-1800.0"), ("retry-after-ms", "-1800000")],
    &[("retry-after", "1.8e3"), ("retry-after-ms", "1.8e6")],
    &[("retry-after", "1800s"), ("retry-after-ms", "0")],
    &[("ratelimit", r#""default";r=1;t=1800"#)],
    &[("ratelimit-remaining", "7"), ("ratelimit-reset", "1800")],
];

type Answer = (StatusCode, HeaderMap);

struct Stack {
    handle: MaintenanceHandle,
    calls: Maintenance<HttpClient, HttpCalls>,
    partner: Arc<Mutex<Answer>>,
    addr: SocketAddr,
}

impl Stack {
    /// Three failures in a row trip for 600 s, and a second trip in a row for 1200 s.
    async fn new() -> Self {
        let policy = Policy::default()
            .with_consecutive_failures(3)
            .with_wait(WAIT)
            .with_wait_growing(2.0, 6 * WAIT)
            .with_jitter(0.0);
        let layer = MaintenanceLayer::builder("zuora").policy(policy);
        let layer = layer.build().unwrap();
        let partner = Arc::new(Mutex::new((StatusCode::OK, HeaderMap::new())));
        let answers = async |State(partner): State<Arc<Mutex<Answer>>>| {
            let answer = partner.lock().unwrap();
            answer.clone()
        };
        let app = Router::new().fallback(answers).with_state(partner.clone());
        Self {
            handle: layer.handle(),
            calls: layer.http_calls().layer(http_client()),
            partner,
            addr: serve(app).await,
        }
    }

    /// Makes a call that the partner answers so.
    async fn get(&self, status: u16, headers: &[(&'static str, &str)]) {
        let status = StatusCode::from_u16(status).unwrap();
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        *self.partner.lock().unwrap() = (status, headers.collect());
        let request = Request::get(format!("http://{}/v1/prices", self.addr));
        let request = request.body(Full::default()).unwrap();
        let answer = soon(self.calls.clone().oneshot(request)).await.unwrap();
        assert_eq!(answer.status(), status);
        collected(answer).await;
    }

    fn probe_now(&self) {
        self.handle.probe_now("on-call", "let us see").unwrap();
        assert_probing(&self.handle);
    }

    /// Asserts what is left of a wait that has just begun.
    fn assert_waits(&self, wait: Duration, what: &dyn std::fmt::Debug) {
        let left = self.handle.status().retry_after.unwrap();
        assert!(left <= wait && left > wait - CAP, "{what:?}: {left:?}");
    }
}

#[tokio::test]
async fn a_probe_that_is_asked_to_come_back_later_goes_back_to_maintenance_for_that_long() {
    for headers in ASKING {
        for status in [503, 429] {
            let stack = Stack::new().await;
            stack.handle.trip("on-call", "drill").unwrap();
            stack.probe_now();
            stack.get(status, headers).await;

            assert_in_maintenance(&stack.handle);
            let evidence = assert_tripped(&stack.handle);
            let asked = match evidence.rule {
                Rule::PartnerAsked { retry_after, .. } => Some(retry_after),
                _ => None,
            };
            assert_eq!(asked, Some(ASKED), "{headers:?}");
            stack.assert_waits(ASKED, headers);

            // The asked wait did not make the waits grow: the next is the second one.
            stack.probe_now();
            stack.get(500, &[]).await;
            stack.assert_waits(2 * WAIT, headers);
        }
    }
}

#[tokio::test]
async fn a_probe_that_names_no_time_is_judged_by_its_status() {
    for headers in SILENT {
        let stack = Stack::new().await;
        stack.handle.trip("on-call", "drill").unwrap();
        stack.probe_now();
        stack.get(429, headers).await;
        let evidence = assert_tripped(&stack.handle);
        let limited = matches!(evidence.rule, Rule::PartnerLimits { wait, .. } if wait == WAIT);
        assert!(limited, "{headers:?}: {evidence}");
        stack.assert_waits(WAIT, headers);
        stack.probe_now();
        stack.get(503, headers).await;
        let evidence = assert_tripped(&stack.handle);
        assert_eq!(evidence.rule, Rule::ProbeFailed, "{headers:?}");
        stack.assert_waits(2 * WAIT, headers);
    }
}

#[tokio::test]
async fn while_serving_it_is_the_least_that_the_next_trip_waits_and_no_other() {
    for headers in ASKING {
        let stack = Stack::new().await;
        stack.get(429, headers).await;
        assert_serving(&stack.handle);
        for _ in 0..3 {
            assert_serving(&stack.handle);
            stack.get(500, &[]).await;
        }
        stack.assert_waits(ASKED, headers);

        stack.probe_now();
        for _ in 0..3 {
            stack.get(200, &[]).await;
        }
        assert_serving(&stack.handle);
        for _ in 0..3 {
            stack.get(500, &[]).await;
        }
        stack.assert_waits(2 * WAIT, headers);
    }
}

#[tokio::test]
async fn a_success_asks_for_nothing() {
    for headers in ASKING {
        let stack = Stack::new().await;
        stack.get(200, headers).await;
        for _ in 0..3 {
            stack.get(500, &[]).await;
        }
        stack.assert_waits(WAIT, headers);
    }
}

#[tokio::test]
async fn no_partner_makes_us_wait_longer_than_the_longest_wait() {
    for headers in [
        [("retry-after", "99999999999999999999999999")],
        [("retry-after", "99999999999999999999999999.5")],
        [("retry-after-ms", "99999999999999999999999999")],
        [("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")],
        [("ratelimit", r#""default";r=0;t=999999999999999"#)],
    ] {
        let stack = Stack::new().await;
        for _ in 0..3 {
            stack.get(503, &headers).await;
        }
        stack.assert_waits(6 * WAIT, &headers);
        stack.probe_now();
        stack.get(503, &headers).await;
        stack.assert_waits(6 * WAIT, &headers);
    }
}
