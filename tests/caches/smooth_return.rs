//! A smooth return: in which order customers see that the partner is back, and what they are told
//! meanwhile.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use test_support::{at_once, secs, soon};
use tokio::{runtime::Handle, sync::mpsc, task::yield_now, time::advance};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_maintenance::{
    CacheBusts, Error, Hold, MaintenanceHandle, MaintenanceLayer, Mode, Policy,
    http::{CacheBustLayer, EventStream, Push, refusal},
};

const WAIT: u64 = 30;
const RAMP: u64 = 100;

/// Our own service as customers see it: caches, gate, and a handler that calls the partner behind
/// the layer.
#[derive(Clone)]
struct Shop {
    handle: MaintenanceHandle,
    app: BoxCloneSyncService<Request<()>, Response<String>, Infallible>,
    push: Push,
    partner_fails: Arc<AtomicBool>,
}

/// The answer that a customer gets.
struct Got {
    status: StatusCode,
    generation: Option<u64>,
    tag: Option<String>,
    retry_after: Option<u64>,
}

impl Shop {
    fn open(policy: Policy) -> Self {
        let layer = MaintenanceLayer::builder("zuora")
            .policy(policy)
            .cache_urls(["/prices"])
            .build()
            .unwrap();
        let handle = layer.handle();
        let partner_fails = Arc::<AtomicBool>::default();
        let fails = partner_fails.clone();
        let partner = layer.http_calls().layer(service_fn(move |_: Request<()>| {
            let status = match fails.load(Ordering::Relaxed) {
                true => StatusCode::BAD_GATEWAY,
                false => StatusCode::OK,
            };
            let mut answer = Response::new("12 EUR".to_owned());
            *answer.status_mut() = status;
            async { Ok::<_, Infallible>(answer) }
        }));
        let handler = service_fn(move |request: Request<()>| {
            let partner = partner.clone();
            async move {
                let known = request.headers().get(header::IF_NONE_MATCH).cloned();
                let (head, body) = match partner.oneshot(request).await {
                    Ok(answer) => answer.into_parts(),
                    Err(Error::Refused(refused)) => return Ok(refusal(&refused)),
                    Err(error) => panic!("{error}"),
                };
                let body = body.collect().await.unwrap().to_bytes();
                let mut answer = Response::new(String::from_utf8(body.to_vec()).unwrap());
                *answer.status_mut() = head.status;
                let tag = header::HeaderValue::from_static("\"v1\"");
                if known.as_ref() == Some(&tag) && head.status.is_success() {
                    *answer.status_mut() = StatusCode::NOT_MODIFIED;
                }
                answer.headers_mut().insert(header::ETAG, tag);
                Ok::<_, Infallible>(answer)
            }
        });
        let gated = layer.paths().layer(handler);
        let app = CacheBustLayer::new(&handle).layer(gated);
        Self {
            push: Push::new(&handle),
            handle,
            app: BoxCloneSyncService::new(app),
            partner_fails,
        }
    }

    async fn ask(&self, method: Method, known: Option<&str>) -> Got {
        let mut request = Request::builder().method(method).uri("/prices");
        if let Some(known) = known {
            request = request.header(header::IF_NONE_MATCH, known);
        }
        let request = request.body(()).unwrap();
        let answer = self.app.clone().oneshot(request).await.unwrap();
        let said = |name: &str| Some(answer.headers().get(name)?.to_str().unwrap().to_owned());
        let got = Got {
            status: answer.status(),
            generation: said("maintenance-generation").map(|said| said.parse().unwrap()),
            tag: said("etag"),
            retry_after: said("retry-after").map(|said| said.parse().unwrap()),
        };
        let refused = got.status == StatusCode::SERVICE_UNAVAILABLE;
        // The handler leaves the refusal's mark on the response, so no refusal tells a generation.
        assert_eq!(refused, got.retry_after.is_some());
        assert_eq!(refused, got.generation.is_none());
        got
    }

    async fn read(&self) -> Got {
        self.ask(Method::GET, None).await
    }

    /// How many of a hundred customers are served. Every third one wants to buy.
    async fn served(&self) -> u32 {
        let mut served = 0;
        for customer in 0..100 {
            let method = match customer % 3 {
                0 => Method::POST,
                _ => Method::GET,
            };
            served += u32::from(self.ask(method, None).await.status == StatusCode::OK);
        }
        served
    }

    /// Goes from the trip to the last needed success.
    async fn proves_itself(&self) {
        self.handle.trip("on-call", "drill").unwrap();
        advance(secs(WAIT)).await;
        for _ in 0..3 {
            assert_eq!(self.handle.mode(), Mode::Probing);
            assert_eq!(self.read().await.status, StatusCode::OK);
        }
    }

    fn ramp_share(&self) -> Option<f64> {
        self.handle.status().probing?.ramp_share
    }
}

fn policy() -> Policy {
    Policy::default().with_jitter(0.0).with_wait(secs(WAIT))
}

fn ramped() -> Policy {
    policy().with_ramp(secs(RAMP))
}

/// The two ways to be told of a recovery: the core's signal, and server-sent events.
struct Told {
    signal: CacheBusts,
    stream: EventStream,
}

impl Told {
    async fn by(shop: &Shop) -> Self {
        let request = Request::get("/events").body(()).unwrap();
        let answer = shop.push.events().oneshot(request).await.unwrap();
        let mut told = Self {
            signal: shop.handle.cache_bust(),
            stream: answer.into_body(),
        };
        assert_eq!(told.now().await, (None, None), "hello is no recovery");
        told
    }

    /// The generations that both have told by now.
    async fn now(&mut self) -> (Option<u64>, Option<u64>) {
        // One task tells all streams, and has no other work.
        for _ in 0..10 {
            yield_now().await;
        }
        let mut by_stream = None;
        while let Some(Some(frame)) = at_once(self.stream.frame()) {
            let frame = frame.unwrap().into_data().unwrap();
            by_stream = by_stream.or(recovered(&frame));
        }
        let by_signal = self.signal.try_recv().map(|bust| bust.generation);
        (by_signal, by_stream)
    }
}

/// The generation in a frame that tells of a recovery.
fn recovered(frame: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(frame).unwrap();
    let (_, rest) = text.split_once("event: recovered\nid: ")?;
    Some(rest.split_once('\n')?.0.parse().unwrap())
}

async fn next_recovered(stream: &mut EventStream) -> u64 {
    loop {
        let frame = stream.frame().await;
        let frame = frame.unwrap().unwrap().into_data().unwrap();
        if let Some(generation) = recovered(&frame) {
            return generation;
        }
    }
}

// ---- the flag, then the caches ------------------------------------------------------------------

/// A client that was told fetches anew in the same instant, and must not meet a shut gate.
async fn refetches(shop: &Shop, by: &str, generation: u64) {
    let got = shop.read().await;
    assert_eq!(got.status, StatusCode::OK, "{by}");
    assert_eq!(got.generation, Some(generation), "{by}");
    // The mode comes last: it takes the lock, which alone would order the reads.
    assert_eq!(shop.handle.mode(), Mode::Serving, "{by}");
}

/// The order is one between threads, so this test has real ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_flag_clears_before_anybody_is_told_and_who_refetches_at_once_is_served() {
    let shop = Shop::open(policy());
    let (done, mut all_done) = mpsc::unbounded_channel();

    let mut signal = shop.handle.cache_bust();
    let (on_signal, by_signal) = (shop.clone(), done.clone());
    tokio::spawn(async move {
        while let Some(bust) = signal.recv().await {
            refetches(&on_signal, "by the signal", bust.generation).await;
            by_signal.send(bust.generation).unwrap();
        }
    });
    let request = Request::get("/events").body(()).unwrap();
    let mut stream = shop
        .push
        .events()
        .oneshot(request)
        .await
        .unwrap()
        .into_body();
    let (on_event, by_event) = (shop.clone(), done.clone());
    tokio::spawn(async move {
        loop {
            let generation = next_recovered(&mut stream).await;
            refetches(&on_event, "by an event", generation).await;
            by_event.send(generation).unwrap();
        }
    });
    // A cache that compares its generation with the published one, as `CacheBustLayer` does.
    let (on_header, by_header) = (shop.clone(), done);
    let mut known = shop.handle.generation();
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        while !by_header.is_closed() {
            let newest = on_header.handle.generation();
            if newest > known {
                runtime.block_on(refetches(&on_header, "by the generation", newest));
                known = newest;
                let _ = by_header.send(newest);
            }
            std::thread::yield_now();
        }
    });

    for _ in 0..500 {
        shop.handle.engage(Hold::new("on-call", "drill")).unwrap();
        assert_eq!(shop.read().await.status, StatusCode::SERVICE_UNAVAILABLE);
        shop.handle.release("on-call", "it is back").unwrap();
        let generation = shop.handle.generation();
        for _ in 0..3 {
            let told = soon(all_done.recv()).await;
            assert_eq!(told, Some(generation));
        }
    }
}

// ---- the ramp, then the flag, then the caches ---------------------------------------------------

#[tokio::test(start_paused = true)]
async fn on_the_ramp_traffic_grows_and_nobody_is_told_before_its_end() {
    let shop = Shop::open(ramped());
    let before = shop.handle.generation();
    let mut told = Told::by(&shop).await;
    shop.proves_itself().await;

    let mut served = Vec::new();
    for step in 0..10 {
        assert_eq!(shop.handle.mode(), Mode::Probing, "step {step}");
        let share = shop.ramp_share().unwrap() * 100.0;
        served.push(shop.served().await);
        let now = f64::from(*served.last().unwrap());
        assert!(
            (now - share).abs() <= 1.0,
            "{now} of 100, where {share} % are let in"
        );
        assert_eq!(told.now().await, (None, None), "step {step}");
        assert_eq!(shop.handle.generation(), before, "step {step}");
        advance(secs(RAMP / 10)).await;
    }
    assert!(served.is_sorted_by(|a, b| a < b), "{served:?}");
    assert!(served[0] == 10 && served[9] > 85, "{served:?}");

    assert_eq!(shop.handle.mode(), Mode::Serving);
    let after = shop.handle.generation();
    assert!(after > before);
    assert_eq!(told.now().await, (Some(after), Some(after)));
    assert_eq!(shop.served().await, 100);
    assert_eq!(told.now().await, (None, None), "one signal");
}

/// Without a ramp there is no share in between: after the last success the flag clears, and all are
/// told.
#[tokio::test(start_paused = true)]
async fn without_a_ramp_all_traffic_returns_with_the_last_success() {
    let shop = Shop::open(policy());
    let mut told = Told::by(&shop).await;
    shop.proves_itself().await;
    assert_eq!(shop.handle.mode(), Mode::Serving);
    let generation = Some(shop.handle.generation());
    assert_eq!(told.now().await, (generation, generation));
    assert_eq!(shop.served().await, 100);
}

#[tokio::test(start_paused = true)]
async fn a_partner_that_fails_on_the_ramp_costs_no_cache_anything() {
    let shop = Shop::open(ramped());
    let tag = shop.read().await.tag.unwrap();
    let before = shop.handle.generation();
    let mut told = Told::by(&shop).await;
    shop.proves_itself().await;
    advance(secs(RAMP / 2)).await;
    shop.partner_fails.store(true, Ordering::Relaxed);
    shop.served().await;
    assert_eq!(shop.handle.mode(), Mode::Maintenance);
    assert_eq!(told.now().await, (None, None));
    assert_eq!(shop.handle.generation(), before);

    // A tag from before is still confirmed.
    shop.partner_fails.store(false, Ordering::Relaxed);
    advance(secs(2 * WAIT)).await;
    let probe = shop.ask(Method::GET, Some(&tag)).await;
    assert_eq!(probe.status, StatusCode::NOT_MODIFIED);
}

/// The answer of a customer that the ramp lets in.
async fn let_in(shop: &Shop) -> Got {
    loop {
        let got = shop.read().await;
        if got.status == StatusCode::OK {
            return got;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_ramp_let_in_is_fetched_once_more_after_its_end() {
    let shop = Shop::open(ramped());
    let mut signal = shop.handle.cache_bust();
    let told = tokio::spawn(async move { signal.recv().await.unwrap().generation });
    shop.proves_itself().await;
    let before = let_in(&shop).await;
    advance(secs(RAMP)).await;
    // A receiver that waits for the signal moves time: no request is needed for that.
    let generation = soon(told).await.unwrap();
    let anew = shop.ask(Method::GET, before.tag.as_deref()).await;
    assert_eq!(anew.status, StatusCode::OK);
    assert_eq!(anew.generation, Some(generation));
    let again = shop.ask(Method::GET, anew.tag.as_deref()).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
}

/// The first request moves time, and is not told that its cached content is still valid.
#[tokio::test(start_paused = true)]
async fn where_nobody_waits_for_the_signal_the_request_that_ends_the_ramp_is_answered_anew() {
    let shop = Shop::open(ramped());
    shop.proves_itself().await;
    let before = let_in(&shop).await;
    advance(secs(RAMP)).await;
    let ends_it = shop.ask(Method::GET, before.tag.as_deref()).await;
    assert_eq!(ends_it.status, StatusCode::OK);
    assert!(ends_it.generation > before.generation);
}

// ---- hints --------------------------------------------------------------------------------------

/// The hints that refused customers get, of 400.
async fn hints(shop: &Shop, method: Method) -> BTreeSet<u64> {
    let mut hints = BTreeSet::new();
    for _ in 0..400 {
        hints.extend(shop.ask(method.clone(), None).await.retry_after);
    }
    hints
}

#[tokio::test(start_paused = true)]
async fn hints_on_the_way_back_are_jittered_and_never_past_the_known_end() {
    let shop = Shop::open(ramped());
    shop.handle.trip("on-call", "drill").unwrap();
    for left in [30, 20, 10, 4] {
        advance(secs(WAIT - left) - shop.waited()).await;
        let told = hints(&shop, Method::GET).await;
        let expected: BTreeSet<u64> = (left / 2..=left).collect();
        assert_eq!(told, expected, "{left} s are left");
    }
    advance(secs(4)).await;
    let soon: BTreeSet<u64> = (2..=7).collect();
    assert_eq!(hints(&shop, Method::POST).await, soon, "while probing");

    for _ in 0..3 {
        assert_eq!(shop.read().await.status, StatusCode::OK);
    }
    for _ in 0..4 {
        assert!(shop.ramp_share().is_some());
        let told = hints(&shop, Method::POST).await;
        assert_eq!(told, soon, "on the ramp");
        advance(secs(RAMP / 5)).await;
    }
    advance(secs(RAMP / 5)).await;
    assert!(hints(&shop, Method::POST).await.is_empty(), "serving");
}

impl Shop {
    /// How much of the wait is over.
    fn waited(&self) -> Duration {
        secs(WAIT) - self.handle.status().retry_after.unwrap()
    }
}
