//! Push: the stream of events and its script, in memory. `push_many.rs` tests them over sockets.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::HeaderMap};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use test_support::{alive_tasks, at_once, millis, now, secs, soon};
use tokio::time::sleep;
use tower::{Service, ServiceExt};
use tower_maintenance::{
    Hold, MaintenanceHandle, MaintenanceLayer, Mode,
    http::{EventStream, Notices, Push, PushScript, Refusals},
};

use crate::support::recover;

const HEARTBEAT: Duration = secs(20);
const BORN: u64 = 1_000;

fn handle() -> MaintenanceHandle {
    layer(BORN).handle()
}

fn layer(generation: u64) -> MaintenanceLayer {
    MaintenanceLayer::builder("zuora")
        .cache_urls(["/prices", "/plans?a=\"b\"\nid: 7\r\u{2028}"])
        .generation(generation)
        .build()
        .unwrap()
}

async fn ask(push: &Push, last: Option<&str>) -> Response<EventStream> {
    let mut request = Request::get("/events");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let request = request.body(()).unwrap();
    push.events().oneshot(request).await.unwrap()
}

async fn open(push: &Push, last: Option<&str>) -> EventStream {
    let answer = ask(push, last).await;
    assert_eq!(answer.status(), StatusCode::OK);
    answer.into_body()
}

/// A stream whose greeting has been read.
async fn greeted(push: &Push) -> EventStream {
    let mut stream = open(push, None).await;
    next(&mut stream).await.unwrap();
    stream
}

/// The next text of the stream, or `None` at its end.
async fn next(stream: &mut EventStream) -> Option<String> {
    soon(stream.frame()).await.map(text)
}

/// The next text of the stream, if it is there without a wait.
fn at_hand(stream: &mut EventStream) -> Option<String> {
    at_once(stream.frame())?.map(text)
}

fn text(frame: Result<Frame<Bytes>, Infallible>) -> String {
    let data = frame.unwrap().into_data().unwrap();
    String::from_utf8(data.into()).unwrap()
}

/// An event's name, id and data, read as the specification says.
fn read(event: &str) -> (String, u64, Value) {
    let event = event
        .strip_suffix("\n\n")
        .expect("an event ends with an empty line");
    let (mut name, mut id, mut data) = (None, None, None);
    for line in event.split(['\n', '\r']) {
        let (field, value) = line.split_once(": ").unwrap();
        let known = match field {
            "event" => name.replace(value.to_owned()).is_some(),
            "id" => id.replace(value.parse().unwrap()).is_some(),
            "data" => data.replace(serde_json::from_str(value).unwrap()).is_some(),
            field => panic!("{field} in {event:?}"),
        };
        assert!(!known, "{field} twice in {event:?}");
    }
    (name.unwrap(), id.unwrap(), data.unwrap())
}

fn recovered(event: &str) -> u64 {
    let (name, id, data) = read(event);
    assert_eq!(name, "recovered");
    assert_eq!(data["generation"], id);
    id
}

/// The value of `retry`, and the text that follows it.
fn greeting(said: &str) -> (u64, &str) {
    let (retry, rest) = said.split_once("\n\n").unwrap();
    let retry = retry.strip_prefix("retry: ").unwrap();
    (retry.parse().unwrap(), rest)
}

// ---- what is told -------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn who_comes_first_is_told_the_present_generation_and_the_urls() {
    let handle = handle();
    let answer = ask(&Push::new(&handle), None).await;
    let header = |name: &str| answer.headers()[name].to_str().unwrap();
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "private, no-store, no-transform");
    assert_eq!(header("x-accel-buffering"), "no");

    let said = next(&mut answer.into_body()).await.unwrap();
    let (_, hello) = greeting(&said);
    let (name, id, data) = read(hello);
    assert_eq!((name.as_str(), id), ("hello", BORN));
    let expected = json!({
        "generation": BORN,
        "urls": ["/prices", "/plans?a=\"b\"\nid: 7\r\u{2028}"],
        "spread_ms": 5000,
    });
    assert_eq!(data, expected);
}

#[tokio::test(start_paused = true)]
async fn each_recovery_is_told_once_to_everybody() {
    let handle = handle();
    let push = Push::new(&handle);
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = greeted(&push).await;
        assert_eq!(at_hand(&mut stream), None);
        streams.push(stream);
    }
    for _ in 0..3 {
        let generation = recover(&handle);
        for stream in &mut streams {
            let said = next(stream).await.unwrap();
            assert_eq!(recovered(&said), generation);
            assert_eq!(at_hand(stream), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_missed_recoveries_is_told_the_newest_at_once() {
    let handle = handle();
    let push = Push::new(&handle);
    let mut lagging = greeted(&push).await;
    let seen = recover(&handle);
    for _ in 0..3 {
        recover(&handle);
    }
    let newest = handle.generation();
    assert_eq!(recovered(&next(&mut lagging).await.unwrap()), newest);
    assert_eq!(at_hand(&mut lagging), None);

    let mut back = open(&push, Some(&seen.to_string())).await;
    assert_eq!(greeting(&at_hand(&mut back).unwrap()).1, "");
    assert_eq!(recovered(&at_hand(&mut back).unwrap()), newest);
    assert_eq!(at_hand(&mut back), None);
}

/// The client was connected before a restart that lowered the generation: there is no recovery in
/// this process.
#[tokio::test(start_paused = true)]
async fn who_comes_back_after_a_restart_is_told() {
    let push = {
        let handle = layer(BORN + 5).handle();
        let push = Push::new(&handle);
        let mut back = open(&push, Some(&BORN.to_string())).await;
        next(&mut back).await.unwrap();
        let said = at_hand(&mut back).unwrap();
        assert_eq!(recovered(&said), BORN + 5);
        assert_eq!(read(&said).2["urls"][0], "/prices");
        push
    };
    // When the layer is gone, browsers still come back.
    let answer = ask(&push, None).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_equal_higher_or_no_number_gets_no_event_but_the_next() {
    let handle = handle();
    let push = Push::new(&handle);
    let far = u64::MAX.to_string();
    let equal = BORN.to_string();
    let mut streams = Vec::new();
    for id in [
        &equal,
        &far,
        "1001",
        "",
        "-1",
        "+1",
        "1.5",
        " ",
        "abc",
        "99999999999999999999",
        "0x10",
    ] {
        let mut stream = open(&push, Some(id)).await;
        let said = next(&mut stream).await.unwrap();
        assert_eq!(greeting(&said).1, "", "{id:?}");
        assert_eq!(at_hand(&mut stream), None, "{id:?}");
        streams.push(stream);
    }
    let generation = recover(&handle);
    for stream in &mut streams {
        assert_eq!(recovered(&next(stream).await.unwrap()), generation);
    }
}

#[tokio::test(start_paused = true)]
async fn while_anybody_subscribes_time_moves() {
    let handle = handle();
    let push = Push::new(&handle);
    let mut stream = greeted(&push).await;
    let span = secs(7);
    let hold = Hold::new("test", "a hold that ends by itself").for_at_most(span);
    let began = now();
    handle.engage(hold).unwrap();
    let said = next(&mut stream).await.unwrap();
    recovered(&said);
    // tokio's timer counts in milliseconds.
    assert!(now() - began < span + millis(5));
    assert_eq!(handle.mode(), Mode::Serving);
}

// ---- heartbeats, bounds, ends -------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_heartbeat_comes_when_it_is_due() {
    let handle = handle();
    let push = Push::new(&handle);
    let mut stream = greeted(&push).await;
    let mut last = now();
    for _ in 0..5 {
        let said = next(&mut stream).await.unwrap();
        assert_eq!(said, "event: beat\ndata: 20000\n\n");
        let took = now() - last;
        last += took;
        assert!(took.abs_diff(HEARTBEAT) < millis(5), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn over_the_bound_there_is_a_503_with_jitter_and_a_place_that_is_left_is_free() {
    let handle = handle();
    let push = Push::builder(&handle).max_subscribers(2).build().unwrap();
    let first = open(&push, None).await;
    let second = open(&push, None).await;
    let mut waits = Vec::new();
    for _ in 0..50 {
        let answer = ask(&push, None).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            answer.headers()["cache-control"],
            "private, no-store, no-transform"
        );
        let wait = &answer.headers()["retry-after"];
        waits.push(wait.to_str().unwrap().parse::<u64>().unwrap());
        assert!(answer.body().is_end_stream());
    }
    assert!(waits.iter().all(|wait| (5..15).contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    assert_eq!(push.counts().refused, 50);

    drop(first);
    assert_eq!(push.counts().subscribers, 1);
    let third = open(&push, None).await;
    drop((second, third));
    assert_eq!(push.counts().subscribers, 0);
}

// ---- methods ------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn only_a_get_opens_a_stream_and_a_head_takes_no_seat() {
    let handle = handle();
    let push = Push::builder(&handle).max_subscribers(1).build().unwrap();
    let before = alive_tasks();
    for method in [
        "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY",
    ] {
        let request = Request::builder().method(method).uri("/events");
        let answer = push.events().oneshot(request.body(()).unwrap()).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.headers()["allow"], "GET, HEAD", "{method}");
        assert_eq!(answer.headers()["cache-control"], "private, no-store");
        assert!(answer.body().is_end_stream(), "{method}");
    }
    let mut heads = Vec::new();
    for _ in 0..3 {
        let request = Request::head("/events").body(()).unwrap();
        heads.push(push.events().oneshot(request).await.unwrap());
    }
    assert_eq!((push.counts().streams, push.counts().refused), (0, 0));
    assert_eq!(alive_tasks(), before, "no watcher");
    let stream = ask(&push, None).await;
    assert_eq!(stream.status(), StatusCode::OK);
    for head in heads {
        assert_eq!(head.status(), StatusCode::OK);
        assert!(head.body().is_end_stream());
        assert_eq!(head.headers(), stream.headers());
    }
}

#[tokio::test(start_paused = true)]
async fn notices_and_scripts_answer_get_and_head_alone() {
    let handle = handle();
    let notices = Notices::new(&handle, &Refusals::new());
    let script = Push::new(&handle).script();
    for (method, status) in [("GET", 200), ("HEAD", 200), ("POST", 405), ("OPTIONS", 405)] {
        let request = || {
            let request = Request::builder().method(method).uri("/");
            request.body(()).unwrap()
        };
        for answer in [
            notices.json().oneshot(request()).await.unwrap(),
            notices.script().oneshot(request()).await.unwrap(),
            script.clone().oneshot(request()).await.unwrap(),
        ] {
            assert_eq!(answer.status(), status, "{method}");
            let allow = answer.headers().get("allow");
            assert_eq!(allow.is_some(), status == 405, "{method}");
        }
    }
}

// ---- shutdown -----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_closed_push_ends_its_streams_and_lets_browsers_come_back() {
    let handle = handle();
    let push = Push::new(&handle);
    let before = alive_tasks();
    let mut told = greeted(&push).await;
    let mut waiting = tokio::spawn({
        let mut stream = greeted(&push).await;
        async move { next(&mut stream).await }
    });
    let mut fresh = open(&push, None).await;
    tokio::task::yield_now().await;
    assert!(at_once(&mut waiting).is_none());

    push.close();
    push.clone().close();
    assert_eq!(soon(waiting).await.unwrap(), None);
    assert_eq!(at_hand(&mut told), None);
    assert!(at_once(fresh.frame()).unwrap().is_none());
    assert!(told.is_end_stream());
    assert_eq!(push.counts().subscribers, 0);
    drop((told, fresh));
    assert_eq!(push.counts().streams, 0);
    while alive_tasks() > before {
        tokio::task::yield_now().await;
    }

    // An `EventSource` comes back after a 200 alone. It is told to wait a different time.
    let mut waits = Vec::new();
    for _ in 0..50 {
        let answer = ask(&push, Some("1000")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut stream = answer.into_body();
        let said = at_hand(&mut stream).unwrap();
        let (wait, rest) = greeting(&said);
        assert_eq!(rest, "");
        assert!((2500..=7500).contains(&wait), "{wait}");
        waits.push(wait);
        assert_eq!(at_hand(&mut stream), None);
        assert!(stream.is_end_stream());
    }
    assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    let counts = push.counts();
    assert_eq!((counts.streams, counts.refused), (0, 0));
    assert_eq!(alive_tasks(), before, "no watcher");
    recover(&handle);
}

/// A graceful shutdown waits for all responses, and an open tab reads one that has no end.
#[cfg(feature = "axum")]
#[tokio::test]
async fn a_graceful_shutdown_ends_with_open_tabs() {
    use axum::Router;
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    use test_support::{exchange, http_client};
    use tokio::{net::TcpListener, sync::oneshot};

    let handle = handle();
    let push = Push::new(&handle);
    let app = Router::new().route_service("/events", push.events());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = push.close_after(async { stopped.await.unwrap() });
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown);
    let server = tokio::spawn(server.into_future());

    let mut http_2 = Client::builder(TokioExecutor::new());
    let http_2 = http_2.http2_only(true).build_http();
    let mut tabs = Vec::new();
    for client in [http_client(), http_2] {
        let uri = format!("http://{addr}/events").parse().unwrap();
        let mut tab = soon(client.get(uri)).await.unwrap().into_body();
        soon(tab.frame()).await.unwrap().unwrap();
        tabs.push(tab);
    }
    let head = "HEAD /events HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
    let head = exchange(addr, head).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    assert_eq!(push.counts().subscribers, 2);

    stop.send(()).unwrap();
    for tab in tabs {
        // The response ends as a whole: it does not break off.
        let rest = soon(tab.collect()).await.unwrap().to_bytes();
        assert_eq!(rest, "");
    }
    soon(server).await.unwrap().unwrap();
    assert_eq!(push.counts().streams, 0);
}

// ---- bounds -------------------------------------------------------------------------------------

/// The session of a request, as an outer layer would have left it.
#[derive(Clone)]
struct Session(&'static str);

#[tokio::test(start_paused = true)]
async fn one_client_takes_no_more_than_its_share_and_whoever_has_no_name_is_bounded_with_all() {
    let by_session = |request: &http::request::Parts| {
        request.extensions.get().map(|Session(id)| (*id).to_owned())
    };
    let handle = handle();
    let push = Push::builder(&handle)
        .max_subscribers(6)
        .max_of_client(2, by_session)
        .build()
        .unwrap();
    let ask = async |session: Option<&'static str>| {
        let mut request = Request::get("/events").body(()).unwrap();
        if let Some(session) = session {
            request.extensions_mut().insert(Session(session));
        }
        let (head, body) = push.events().oneshot(request).await.unwrap().into_parts();
        (head.status.as_u16(), head.headers, body)
    };
    let first = ask(Some("greedy")).await;
    let mut streams = vec![ask(Some("greedy")).await];
    for _ in 0..3 {
        let (status, headers, mut body) = ask(Some("greedy")).await;
        assert_eq!(status, 429);
        let seconds: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((5..=15).contains(&seconds), "{seconds}");
        assert_eq!(at_hand(&mut body), None);
    }
    // All other sessions are admitted, until the bound is reached.
    for session in [Some("modest"), None, None, None] {
        streams.push(ask(session).await);
    }
    assert!(streams.iter().all(|(status, ..)| *status == 200));
    assert_eq!(ask(Some("other")).await.0, 503);
    let counts = push.counts();
    assert_eq!(
        (counts.streams, counts.over_share, counts.refused),
        (6, 3, 1)
    );

    // A place that is free again may be taken by the same session, which never has more than two.
    drop(first);
    streams.push(ask(Some("greedy")).await);
    assert_eq!(streams.last().unwrap().0, 200);
    assert_eq!(ask(Some("greedy")).await.0, 429);
    drop(streams);
    for _ in 0..2 {
        let [one, two] = [ask(Some("greedy")).await, ask(Some("greedy")).await];
        assert_eq!([one.0, two.0], [200, 200]);
    }
    assert_eq!(push.counts().streams, 0);
}

#[tokio::test(start_paused = true)]
async fn browsers_are_told_to_come_back_at_different_times() {
    let handle = handle();
    let push = Push::new(&handle);
    let mut retries = Vec::new();
    for _ in 0..50 {
        let mut stream = open(&push, None).await;
        retries.push(greeting(&next(&mut stream).await.unwrap()).0);
    }
    assert!(
        retries.iter().all(|retry| (2500..7500).contains(retry)),
        "{retries:?}"
    );
    retries.sort_unstable();
    assert!(retries[49] - retries[0] > 1000, "{retries:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_not_polled_for_three_heartbeats_loses_its_place_and_harms_nobody() {
    let handle = handle();
    let push = Push::new(&handle);
    let mut stuck = greeted(&push).await;
    let mut quick = greeted(&push).await;
    for beats in 1..=6 {
        let said = next(&mut quick).await.unwrap();
        assert!(said.starts_with("event: beat"), "{said}");
        let stalled = u64::from(beats > 3);
        assert_eq!(push.counts().stalled, stalled, "after {beats} heartbeats");
        assert_eq!(push.counts().subscribers as u64, 2 - stalled);
    }
    let generation = recover(&handle);
    assert_eq!(recovered(&next(&mut quick).await.unwrap()), generation);
    assert_eq!(push.counts().streams, 2);
    assert_eq!(next(&mut stuck).await, None, "it ends");
    assert!(stuck.is_end_stream());
    drop(stuck);
    assert_eq!(push.counts().subscribers, 1);
    assert_eq!(push.counts().streams, 1);
}

/// A client whose window is 0: hyper polls none of its streams, and neither ends nor drops them.
#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn the_bound_holds_over_http2_for_streams_that_lost_their_place() {
    use hyper::{body::Incoming, client, server, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::time::timeout;

    const BOUND: usize = 10;
    let handle = handle();
    let push = Push::builder(&handle)
        .max_subscribers(BOUND)
        .build()
        .unwrap();
    // One stream is read, so that heartbeats are counted.
    let mut quick = open(&push, None).await;
    tokio::spawn(async move { while next(&mut quick).await.is_some() {} });

    let (here, there) = tokio::io::duplex(1 << 16);
    let events = push.events();
    let service = service_fn(move |request: Request<Incoming>| events.clone().oneshot(request));
    let server = server::conn::http2::Builder::new(TokioExecutor::new());
    let server = tokio::spawn(server.serve_connection(TokioIo::new(there), service));
    let (mut client, connection) = client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake::<_, String>(TokioIo::new(here))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..4 {
        for _ in 0..BOUND {
            let request = Request::get("http://push/").body(String::new()).unwrap();
            client.ready().await.unwrap();
            let answer = client.send_request(request).await.unwrap();
            if answer.status() == StatusCode::OK {
                streams.push(answer);
            }
        }
        sleep(6 * HEARTBEAT).await;
        assert_eq!(streams.len(), BOUND - 1, "besides the one that is read");
        let counts = push.counts();
        assert_eq!(counts.stalled, BOUND as u64 - 1);
        assert_eq!((counts.subscribers, counts.streams), (1, BOUND));
    }

    // The streams go with their connection.
    server.abort();
    let gone = async {
        while push.counts().streams > 1 {
            sleep(HEARTBEAT).await;
        }
    };
    timeout(60 * HEARTBEAT, gone).await.unwrap();
    open(&push, None).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_polled_at_each_heartbeat_keeps_its_place() {
    let handle = handle();
    let push = Push::new(&handle);
    let mut stream = greeted(&push).await;
    for _ in 0..1000 {
        next(&mut stream).await.unwrap();
    }
    assert_eq!(push.counts().stalled, 0);
}

/// A stream that its server holds and never polls.
#[tokio::test(start_paused = true)]
async fn who_is_never_polled_loses_its_place_too() {
    let handle = handle();
    let push = Push::new(&handle);
    let stuck = open(&push, None).await;
    sleep(5 * HEARTBEAT).await;
    let counts = push.counts();
    assert_eq!((counts.subscribers, counts.stalled), (0, 1));
    assert_eq!(counts.streams, 1, "until it is dropped");
    drop(stuck);
    assert_eq!(push.counts().streams, 0);
}

/// A laptop sleeps, or a virtual machine is moved: many heartbeats are due at once afterwards.
#[tokio::test(start_paused = true)]
async fn a_pause_of_the_whole_process_takes_nobodys_place() {
    let handle = handle();
    let push = Push::new(&handle);
    let mut stream = greeted(&push).await;
    assert_eq!(at_hand(&mut stream), None);
    tokio::task::yield_now().await;
    tokio::time::advance(100 * HEARTBEAT).await;
    for _ in 0..10 {
        let said = next(&mut stream).await.unwrap();
        assert!(said.starts_with("event: beat"), "{said}");
    }
    assert_eq!(push.counts().stalled, 0);
}

#[tokio::test(start_paused = true)]
async fn the_spread_is_the_servers_to_say() {
    let handle = handle();
    let push = Push::builder(&handle).spread(secs(30)).build().unwrap();
    let mut stream = open(&push, None).await;
    let said = next(&mut stream).await.unwrap();
    assert_eq!(read(greeting(&said).1).2["spread_ms"], 30_000);
    recover(&handle);
    let said = next(&mut stream).await.unwrap();
    assert_eq!(read(&said).2["spread_ms"], 30_000);
}

#[tokio::test(start_paused = true)]
async fn one_task_serves_all_and_nothing_is_left_after_they_leave() {
    let handle = handle();
    let push = Push::new(&handle);
    let before = alive_tasks();
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(greeted(&push).await);
    }
    assert_eq!(alive_tasks(), before + 1);
    drop(streams);
    assert_eq!(push.counts().subscribers, 0);
    sleep(HEARTBEAT + millis(10)).await;
    assert_eq!(alive_tasks(), before);

    // A later subscriber is served like the first.
    let mut late = greeted(&push).await;
    assert_eq!(alive_tasks(), before + 1);
    let generation = recover(&handle);
    assert_eq!(recovered(&next(&mut late).await.unwrap()), generation);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_layer_and_keeps_nothing_alive() {
    let layer = layer(BORN);
    let push = Push::new(&layer.handle());
    let mut events = layer.handle().events();
    let mut stream = greeted(&push).await;
    assert_eq!(at_hand(&mut stream), None);
    drop(layer);
    assert_eq!(next(&mut stream).await, None);
    assert!(events.recv().await.is_none());
    assert_eq!(push.counts().subscribers, 0);
    tokio::task::yield_now().await;
    assert_eq!(alive_tasks(), 0);
}

/// The watcher runs in the first subscriber's runtime. When that ends, other streams must not wait
/// for ever.
#[test]
fn a_runtime_that_ends_ends_the_streams_of_others() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let handle = handle();
    let push = Push::new(&handle);
    let _stream = first.block_on(async { greeted(&push).await });
    second.block_on(async {
        let mut stream = greeted(&push).await;
        assert_eq!(at_hand(&mut stream), None);
        // A runtime must not be dropped within another.
        std::thread::spawn(|| drop(first)).join().unwrap();
        assert_eq!(next(&mut stream).await, None);
        let mut again = greeted(&push).await;
        let generation = recover(&handle);
        assert_eq!(recovered(&next(&mut again).await.unwrap()), generation);
    });
}

/// Outside a runtime no watcher can be spawned, and the poll panics. Later subscribers are not
/// harmed, and neither is the stream itself.
#[tokio::test(start_paused = true)]
async fn a_stream_that_was_polled_outside_a_runtime_heals_itself() {
    let handle = handle();
    let push = Push::new(&handle);
    let outside = {
        let push = push.clone();
        let asks = move || {
            let request = Request::get("/events").body(()).unwrap();
            let answer = push.events().call(request).into_inner();
            let mut stream = answer.unwrap().into_body();
            let polls = AssertUnwindSafe(|| at_hand(&mut stream));
            assert!(catch_unwind(polls).is_err());
            stream
        };
        std::thread::spawn(asks).join().unwrap()
    };
    assert_eq!(push.counts().subscribers, 1);
    let mut streams = [outside, open(&push, None).await];
    for stream in &mut streams {
        assert!(greeting(&next(stream).await.unwrap()).1.contains("hello"));
        assert_eq!(at_hand(stream), None);
    }
    let generation = recover(&handle);
    for stream in &mut streams {
        assert_eq!(recovered(&next(stream).await.unwrap()), generation);
    }
}

#[test]
fn a_builder_owns_what_it_has() {
    let builder = {
        let handle = handle();
        Push::builder(&handle)
    };
    assert!(builder.build().is_ok());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let handle = handle();
    let push = || Push::builder(&handle);
    let error = push().max_subscribers(0).build().unwrap_err();
    assert_eq!(
        (error.field(), error.value(), error.allowed()),
        ("max_subscribers", "0", "1 or more")
    );
    let error = push().max_of_client(0, |_| None).build().unwrap_err();
    assert_eq!(error.field(), "max_of_client");
    let long = secs(601);
    for (error, expected) in [
        (
            push().heartbeat(millis(99)),
            "heartbeat is 99ms: allowed is 100 ms to 10 min",
        ),
        (
            push().heartbeat(Duration::MAX),
            "heartbeat is 18446744073709551615.999999999s: allowed is 100 ms to 10 min",
        ),
        (
            push().retry(Duration::ZERO),
            "retry is 0ns: allowed is 100 ms to 10 min",
        ),
        (
            push().spread(long),
            "spread is 601s: allowed is 0 s to 10 min",
        ),
    ] {
        assert_eq!(error.build().unwrap_err().to_string(), expected);
    }
    assert!(push().spread(Duration::ZERO).build().is_ok());
}

// ---- the script ---------------------------------------------------------------------------------

async fn script(path: &str, known: Option<&str>) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::get(path);
    if let Some(known) = known {
        request = request.header("if-none-match", known);
    }
    let push = Push::new(&handle());
    let answer = push.script().oneshot(request.body(()).unwrap()).await;
    let (head, body) = answer.unwrap().into_parts();
    (head.status, head.headers, body)
}

#[tokio::test]
async fn the_scripts_name_and_integrity_are_those_of_its_contents() {
    let (_, _, body) = script("/push.js", None).await;
    let hash = Sha256::digest(&body);
    let digits: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(PushScript::NAME, format!("push-{digits}.js"));
    let integrity = format!("sha256-{}", BASE64_STANDARD.encode(hash));
    assert_eq!(PushScript::INTEGRITY, integrity);
}

#[tokio::test]
async fn the_script_is_small_and_immutable_under_its_own_name_only() {
    let named = format!("/maintenance/{}", PushScript::NAME);
    let (status, headers, body) = script(&named, None).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.len() < 3 * 1024, "{}", body.len());
    for word in ["eval", "new Function", "innerHTML", "document.write", "//"] {
        assert!(!body.contains(word), "{word}");
    }
    assert_eq!(headers["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(
        headers["cache-control"],
        "public, max-age=31536000, immutable"
    );

    let (_, headers, _) = script("/maintenance/push.js", None).await;
    assert_eq!(headers["cache-control"], "no-cache");
    let tag = headers["etag"].to_str().unwrap();
    let (status, _, body) = script("/maintenance/push.js", Some(tag)).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));
}

/// The memory of hyper and of the kernel for a connection is far more: see `push_many.rs`.
#[test]
fn a_stream_is_small() {
    assert!(size_of::<EventStream>() <= 88);
}
