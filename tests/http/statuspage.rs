//! The partner's public status page: over a real socket, and in memory where it takes hours.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::pending,
    io,
    pin::pin,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use test_support::{HOUR, ScriptedBody, Step, http_client, millis, now, secs, serve, soon, until};
use tokio::{
    net::TcpSocket,
    sync::Notify,
    time::{advance, sleep, timeout},
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{
    Indicator, MaintenanceHandle, MaintenanceLayer, Mode, Policy, Status, http::Statuspage,
};

const URL: &str = "https://status.zuora.com";

fn layer() -> MaintenanceLayer {
    let policy = Policy::default().with_jitter(0.0);
    let layer = MaintenanceLayer::builder("zuora").policy(policy);
    layer.build().unwrap()
}

fn page(indicator: &str, description: &str) -> String {
    format!(
        r#"{{"page":{{"id":"x","updated_at":"2024-07-31T13:57:12.000-07:00"}},
            "status":{{"indicator":"{indicator}","description":"{description}"}}}}"#
    )
}

// ---- over a real socket -------------------------------------------------------------------------

/// A page with an entity tag, which counts its answers.
#[derive(Debug, Clone, Default)]
struct Page {
    tag: String,
    body: String,
    sent: usize,
    confirmed: usize,
}

type Shown = Arc<Mutex<Page>>;

async fn answer(State(shown): State<Shown>, asked: HeaderMap) -> impl IntoResponse {
    let mut shown = shown.lock().unwrap();
    assert_eq!(asked[header::ACCEPT], "application/json");
    let tag = [(header::ETAG, shown.tag.clone())];
    let known = asked.get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == shown.tag.as_bytes()) {
        shown.confirmed += 1;
        return (StatusCode::NOT_MODIFIED, tag).into_response();
    }
    shown.sent += 1;
    (tag, shown.body.clone()).into_response()
}

fn show(shown: &Shown, tag: &str, indicator: &str, description: &str) {
    let mut shown = shown.lock().unwrap();
    *shown = Page {
        tag: tag.to_owned(),
        body: page(indicator, description),
        ..Page::default()
    };
}

#[tokio::test]
async fn a_page_that_did_not_change_is_not_sent_again() {
    let shown = Shown::default();
    show(&shown, "\"1\"", "none", "All Systems Operational");
    let app = Router::new()
        .route("/zuora/api/v2/status.json", get(answer))
        .with_state(shown.clone());
    let url = format!("http://{}/zuora/", serve(app).await);

    let handle = layer().handle();
    // The shortest interval: the first reading comes within a second, the next at most 6 s later.
    let page = Statuspage::new(http_client(), &url).with_interval(secs(5));
    let following = tokio::spawn(handle.follow_statuspage(page).unwrap());
    let report = || handle.status().partner_says;

    until(|| report().is_some()).await;
    let first = report().unwrap();
    assert_eq!(first.says.description(), "All Systems Operational");
    assert_eq!(
        first.says.source(),
        Some(&*format!("{url}api/v2/status.json"))
    );
    assert!(first.says.changed().is_some());
    // A 304 confirms the last reading: its content is the same, and its time is later.
    until(|| report().is_some_and(|report| report.read > first.read)).await;
    assert_eq!(report().unwrap().says, first.says);
    let asked = shown.lock().unwrap().clone();
    assert_eq!((asked.sent, asked.confirmed), (1, 1));

    drop(handle);
    soon(following).await.unwrap();
}

#[tokio::test]
async fn a_page_that_is_not_there_is_named_with_what_went_wrong() {
    // The port is bound, so that no other process listens there meanwhile.
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = bound.local_addr().unwrap();
    let handle = layer().handle();
    let page = Statuspage::new(http_client(), format!("http://{addr}"));
    // The shortest interval, so that the first reading comes within a second.
    let page = page.with_interval(secs(5));
    let following = tokio::spawn(handle.follow_statuspage(page).unwrap());
    until(|| handle.status().partner_unreadable.is_some()).await;
    let error = handle.status().partner_unreadable.unwrap().error;
    assert!(
        error.starts_with(&format!("http://{addr}/api/v2/status.json: ")),
        "{error}"
    );
    assert!(
        error.to_lowercase().contains("connection refused"),
        "{error}"
    );
    following.abort();
}

// ---- in memory ----------------------------------------------------------------------------------

type Text = Full<Bytes>;

/// Follows a page that `client` answers, from its first reading on for `span`. Returns the status
/// then.
async fn followed<S, B>(handle: &MaintenanceHandle, client: S, span: Duration) -> Status
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = io::Error>,
    B: Body<Error: Into<tower::BoxError>>,
{
    let asked = Rc::new(Notify::new());
    let asking = asked.clone();
    let client = client.map_request(move |request| {
        asking.notify_one();
        request
    });
    let page = Statuspage::new(client, URL).with_seed(0);
    let mut following = pin!(handle.follow_statuspage(page).unwrap());
    tokio::select! {
        () = &mut following => panic!("it ended while a handle is left"),
        () = asked.notified() => {}
    }
    let ended = timeout(span, following).await;
    assert!(ended.is_err(), "it ended while a handle is left");
    handle.status()
}

fn answering<B: Body>(
    status: u16,
    body: impl Fn() -> B,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<B>, Error = io::Error> {
    service_fn(move |_| {
        let mut answer = Response::new(body());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        if status == 301 {
            let elsewhere = header::HeaderValue::from_static("https://status.example.com");
            answer.headers_mut().insert(header::LOCATION, elsewhere);
        }
        async { Ok(answer) }
    })
}

#[tokio::test(start_paused = true)]
async fn a_page_that_says_critical_for_an_hour_refuses_nothing() {
    let layer = layer();
    let handle = layer.handle();
    let mut events = handle.events();
    let era = handle.status().era;
    let asked = Cell::new(0);
    let client = service_fn(|_: Request<Empty<Bytes>>| {
        asked.set(asked.get() + 1);
        async {
            Ok::<_, io::Error>(Response::new(Text::from(page(
                "critical",
                "Major System Outage",
            ))))
        }
    });
    let page = Statuspage::new(client, URL);
    let mut following = pin!(handle.follow_statuspage(page).unwrap());
    let partner = service_fn(async |()| Ok::<_, Infallible>(()));
    for _ in 0..3600 {
        assert!(timeout(secs(1), &mut following).await.is_err());
        layer.layer(partner).oneshot(()).await.unwrap();
    }
    assert!(
        (50..=75).contains(&asked.get()),
        "about once a minute: {}",
        asked.get()
    );
    let status = handle.status();
    assert_eq!((status.mode, status.era), (Mode::Serving, era));
    assert_eq!((status.calls.succeeded, status.calls.refused), (3600, 0));
    assert!(events.try_recv().is_none() && handle.audit().is_empty());
    let shown = status.to_string();
    assert!(
        shown.ends_with(
            "; the partner says: Major System Outage (critical), but we see 0 % failures"
        ),
        "{shown}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_no_page_is_noted_with_its_address_and_changes_nothing() {
    let deep = "[".repeat(10_000);
    for (code, body, why) in [
        (200, "", "the body is not JSON: EOF while parsing a value"),
        (
            200,
            "<html>moved</html>",
            "the body is not JSON: expected value",
        ),
        (
            200,
            deep.as_str(),
            "the body is not JSON: recursion limit exceeded",
        ),
        (
            200,
            "{}",
            "`/status/indicator` is missing; it should be one of none, minor",
        ),
        (
            200,
            r#"{"status":{"indicator":[7]}}"#,
            "`/status/indicator` is not one of none, minor",
        ),
        (
            200,
            "{\"status\":{\"indicator\":\"\u{1b}[2J\"}}",
            "the body is not JSON: control character",
        ),
        (
            200,
            r#"{"status":{"indicator":"\u001b[2J"}}"#,
            "`/status/indicator` is not one of",
        ),
        (304, "", "answered 304 Not Modified instead of 200 OK"),
        (
            301,
            "",
            "answered 301 Moved Permanently instead of 200 OK; use the address of the redirect",
        ),
        (404, "{}", "answered 404 Not Found instead of 200 OK"),
        (
            500,
            &page("none", "fine"),
            "answered 500 Internal Server Error instead of 200 OK",
        ),
    ] {
        let handle = layer().handle();
        let client = answering(code, || Text::from(body.to_owned()));
        let status = followed(&handle, client, secs(1)).await;
        let error = status.partner_unreadable.unwrap().error;
        let named = format!("{URL}/api/v2/status.json: {why}");
        assert!(error.starts_with(&named), "{body:.40}: {error}");
        assert_eq!(
            error.contains("the address of the redirect"),
            code == 301,
            "{error}"
        );
        assert!(!error.contains(char::is_control), "{error:?}");
        assert_eq!((status.partner_says, status.mode), (None, Mode::Serving));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_read_up_to_64_kib_and_no_further() {
    let taken = Cell::new(0);
    let handle = layer().handle();
    let endless = answering(200, || {
        let blanks = ScriptedBody::of([Step::Repeats(vec![b' '; 1000].into())]);
        blanks.map_frame(|frame| {
            taken.set(taken.get() + 1000);
            frame
        })
    });
    let status = followed(&handle, endless, secs(1)).await;
    let error = status.partner_unreadable.unwrap().error;
    assert!(
        error.ends_with("the body is longer than 65536 bytes"),
        "{error}"
    );
    assert_eq!(taken.get(), 66_000);

    for (length, fits) in [(65_536, true), (65_537, false)] {
        let handle = layer().handle();
        let page = page("none", "fine");
        let body = format!("{page}{}", " ".repeat(length - page.len()));
        let client = answering(200, || Text::from(body.clone()));
        let status = followed(&handle, client, secs(1)).await;
        assert_eq!(status.partner_says.is_some(), fits, "{length}");
        assert_eq!(status.partner_unreadable.is_none(), fits, "{length}");

        let handle = layer().handle();
        // A body that does not tell its length.
        let pieces = body.as_bytes().chunks(1000);
        let pieces = pieces.map(|piece| Step::Data(piece.to_vec().into()));
        let client = answering(200, || ScriptedBody::of(pieces.clone()));
        let status = followed(&handle, client, secs(1)).await;
        assert_eq!(status.partner_says.is_some(), fits, "{length}, in pieces");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_hangs_is_given_up_after_the_timeout() {
    let ten = secs(10);
    let brief = millis(1);
    let handle = layer().handle();
    let silent = || answering(200, || ScriptedBody::of([Step::Hangs]));
    let status = followed(&handle, silent(), ten - brief).await;
    assert_eq!(status.partner_unreadable, None);
    let status = followed(&handle, silent(), ten + brief).await;
    let error = status.partner_unreadable.unwrap().error;
    assert!(error.ends_with("no answer within 10s"), "{error}");

    let handle = layer().handle();
    let hangs = service_fn(async |_| pending::<Result<Response<Text>, io::Error>>().await);
    let status = followed(&handle, hangs, ten + brief).await;
    assert!(status.partner_unreadable.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_is_asked_less_often_and_its_last_word_stays() {
    let handle = layer().handle();
    let asked = RefCell::new(Vec::new());
    let client = service_fn(|_: Request<Empty<Bytes>>| {
        asked.borrow_mut().push(now());
        let first = asked.borrow().len() == 1;
        async move {
            match first {
                true => Ok(Response::new(Text::from(page("minor", "Degraded")))),
                false => Err(io::Error::other("broken\npipe")),
            }
        }
    });
    let status = followed(&handle, client, 2 * HOUR).await;
    let asked = asked.into_inner();
    let gaps: Vec<_> = asked
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect();
    for (gap, minutes) in gaps.iter().zip([1, 1, 2, 4, 8, 15, 15, 15]) {
        assert!((minutes * 48..=minutes * 72 + 1).contains(gap), "{gaps:?}");
    }
    assert!(gaps.len() >= 10 && gaps.len() <= 15, "{gaps:?}");
    let shown = status.to_string();
    assert!(
        shown.contains("s ago (stale): Degraded (minor); its own status cannot be read: "),
        "{shown}"
    );
    assert!(
        shown.ends_with("/api/v2/status.json: broken pipe"),
        "{shown}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_page_that_asks_to_be_left_alone_is() {
    let handle = layer().handle();
    let asked = Cell::new(0);
    let client = service_fn(|_: Request<Empty<Bytes>>| {
        asked.set(asked.get() + 1);
        let answer = Response::builder().status(429).header("retry-after", "600");
        async move { Ok(answer.body(Text::default()).unwrap()) }
    });
    let status = followed(&handle, client, secs(599)).await;
    assert_eq!(asked.get(), 1);
    assert!(status.partner_unreadable.is_some());
    // And at most a fifth longer.
    asked.set(0);
    followed(&handle, client, secs(721)).await;
    assert_eq!(asked.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_does_not_forget_what_was_read() {
    // A reading, an error, and then a 304, which confirms the reading.
    let handle = layer().handle();
    let tags = RefCell::new(Vec::new());
    let client = service_fn(|request: Request<Empty<Bytes>>| {
        let tag = request.headers().get(header::IF_NONE_MATCH).cloned();
        tags.borrow_mut()
            .push(tag.map(|tag| tag.to_str().unwrap().to_owned()));
        let answer = match tags.borrow().len() {
            1 => Response::builder()
                .header(header::ETAG, "\"7\"")
                .body(page("minor", "Degraded")),
            2 => Response::builder().status(502).body(String::new()),
            _ => Response::builder().status(304).body(String::new()),
        };
        async move { Ok(answer.unwrap()) }
    });
    let status = followed(&handle, client, secs(250)).await;
    let tag = Some("\"7\"".to_owned());
    assert!(tags.borrow().len() >= 3);
    assert_eq!(tags.borrow()[..3], [None, tag.clone(), tag]);
    assert_eq!(status.partner_unreadable, None);
    let report = status.partner_says.unwrap();
    assert_eq!(report.says.description(), "Degraded");
    assert!(report.age < secs(130), "{:?}", report.age);
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_no_layer_service_or_handle_is_left() {
    // In each of its states: before the first reading, in the middle of it, and resting after it.
    for stage in ["waiting", "reading", "resting"] {
        let layer = layer();
        let handle = layer.handle();
        let hangs = stage == "reading";
        let asked = Notify::new();
        let client = service_fn(|_: Request<Empty<Bytes>>| {
            asked.notify_one();
            async move {
                if hangs {
                    pending::<()>().await;
                }
                Ok::<_, io::Error>(Response::new(Text::from(page("none", "fine"))))
            }
        });
        let page = Statuspage::new(client, URL).with_seed(0);
        let mut following = pin!(handle.follow_statuspage(page).unwrap());
        let brief = millis(1);
        if stage != "waiting" {
            tokio::select! {
                () = &mut following => panic!("a handle is left"),
                () = asked.notified() => {}
            }
        }
        assert!(timeout(brief, &mut following).await.is_err());
        let read = handle.status().partner_says.is_some();
        assert_eq!(read, stage == "resting", "{stage}");
        drop(layer);
        assert!(
            timeout(brief, &mut following).await.is_err(),
            "a handle is left"
        );
        drop(handle);
        let ended = timeout(brief, following).await;
        assert!(ended.is_ok(), "{stage}: it went on");
    }
}

#[tokio::test(start_paused = true)]
async fn it_does_nothing_before_it_is_polled_and_asks_within_a_fifth_of_the_interval_then() {
    let mut firsts = Vec::new();
    for seed in 0..20 {
        let handle = layer().handle();
        let asked = Cell::new(None);
        let client = service_fn(|_: Request<Empty<Bytes>>| {
            asked.set(Some(now()));
            async { Ok::<_, io::Error>(Response::new(Text::from(page("none", "fine")))) }
        });
        let page = Statuspage::new(client, URL).with_seed(seed);
        let following = handle.follow_statuspage(page).unwrap();
        advance(HOUR).await;
        assert_eq!(asked.get(), None);
        let polled = now();
        let fifth = secs(12) + millis(1);
        assert!(timeout(fifth, following).await.is_err());
        firsts.push(asked.get().expect("it has asked") - polled);
    }
    // Replicas that start together do not read together.
    firsts.sort_unstable();
    firsts.dedup();
    assert!(firsts.len() >= 18, "{firsts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_page_says_anew_is_read_and_then_confirmed() {
    let shown = Shown::default();
    show(&shown, "\"1\"", "none", "All Systems Operational");
    let client = Router::new()
        .route("/api/v2/status.json", get(answer))
        .with_state(shown.clone());
    let handle = layer().handle();
    let page = Statuspage::new(client, URL);
    tokio::spawn(
        handle
            .follow_statuspage::<_, axum::body::Body, _>(page)
            .unwrap(),
    );

    let confirmed_again_and_again = async || {
        sleep(secs(600)).await;
        let Page {
            sent, confirmed, ..
        } = *shown.lock().unwrap();
        assert!(sent == 1 && (7..=12).contains(&confirmed), "{confirmed}");
    };
    confirmed_again_and_again().await;
    show(&shown, "W/\"2\"", "critical", "Major System Outage");
    let says = || handle.status().partner_says.unwrap().says;
    assert_eq!(says().indicator(), Indicator::Operational);
    confirmed_again_and_again().await;
    assert_eq!(says().indicator(), Indicator::Critical);
    assert_eq!(handle.mode(), Mode::Serving);
}

/// The future is `Send` where the client and its bodies are: it can be spawned.
#[test]
fn it_can_be_spawned() {
    fn is_send(_: impl Future<Output = ()> + Send + 'static) {}
    let page = Statuspage::new(http_client(), URL);
    is_send(layer().handle().follow_statuspage(page).unwrap());
}

#[test]
fn a_page_that_makes_no_sense_is_an_error() {
    let client = || answering(200, Text::default);
    let follow = |page| {
        layer()
            .handle()
            .follow_statuspage(page)
            .map(drop)
            .unwrap_err()
    };
    let error = follow(Statuspage::new(client(), "status.zuora.com")).to_string();
    assert_eq!(
        error,
        "the status page's url `status.zuora.com` is not like `https://status.example.com`: \
         it does not begin with `https://` or `http://`"
    );
    let secret = Statuspage::new(client(), "https://me:secret@status.zuora.com");
    assert!(!format!("{secret:?}").contains("secret"));
    let error = follow(secret);
    assert_eq!(
        error.to_string(),
        "the status page's url `https://***@status.zuora.com` is not like `https://status.example.com`: \
         it has a user name or a password, which the status would show"
    );
    assert!(!format!("{error:?}").contains("secret"));
    let often = Statuspage::new(client(), URL).with_interval(millis(1));
    assert_eq!(
        follow(often).to_string(),
        "the status page's interval is 1 ms: allowed is 5 s or longer"
    );
}
