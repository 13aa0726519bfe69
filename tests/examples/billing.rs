//! `examples/billing` does what its first page says: the built program, called over HTTP.

use std::process::{Command, Output};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use test_support::{millis, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use tower_maintenance::testing::{assert_refusal, assert_runbook_is_current};

// The program's source, for its exemptions.
#[path = "../../examples/billing/main.rs"]
#[expect(dead_code, reason = "the rest of it runs in a process of its own")]
mod example;

use crate::program::{Program, executable, read};

impl Program {
    async fn partner_is(&self, phase: &str) {
        let answer = self.post(&format!("/partner/{phase}"), &Value::Null).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
    }

    async fn generation(&self) -> u64 {
        self.maintenance().await["generation"].as_u64().unwrap()
    }

    /// Asks for prices until the gate refuses. Returns the statuses of the partner's failures
    /// before.
    async fn prices_until_refused(&self) -> Vec<StatusCode> {
        let mut failed = Vec::new();
        soon(async {
            loop {
                let answer = self.get("/billing/prices").await;
                if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
                    assert_refusal(&answer);
                    assert_eq!(read(&answer)["processed"], false);
                    return;
                }
                failed.push(answer.status());
            }
        })
        .await;
        failed
    }

    /// Only subscribing customers call, and their requests do not probe.
    async fn subscriptions_until_served(&self) {
        let plan = json!({ "plan": "basic" });
        soon(async {
            while self.post("/billing/subscriptions", &plan).await.status() != StatusCode::OK {
                sleep(millis(20)).await;
            }
        })
        .await;
        assert_eq!(self.maintenance().await["mode"], "serving");
    }

    async fn exempt_endpoints_answer(&self) {
        for path in ["/billing/invoices/INV%2F7", "/health/live", "/maintenance"] {
            assert_eq!(self.get(path).await.status(), 200, "{path}");
        }
        let event = json!({ "event": "paid" });
        assert_eq!(self.post("/webhooks/partner", &event).await.status(), 200);
    }
}

#[tokio::test]
async fn a_broken_partner_is_noticed_and_a_mended_one_too_although_nobody_probes() {
    // All four at once, because a hanging partner takes its time.
    let drills = ["failing", "slow", "hanging", "down"].map(|phase| {
        tokio::spawn(async move {
            let billing = Program::start().await;
            assert_eq!(billing.get("/billing/prices").await.status(), 200);
            let before = billing.generation().await;

            billing.partner_is(phase).await;
            let answers = billing.prices_until_refused().await;
            let expected = match phase {
                "slow" => StatusCode::OK, // late, but an answer
                "hanging" => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            assert!(
                (3..=5).contains(&answers.len())
                    && answers.iter().all(|status| *status == expected),
                "{phase}: {answers:?}"
            );
            let status = billing.maintenance().await;
            assert_eq!(status["mode"], "maintenance");
            assert_eq!(status["causes"][0]["cause"], "tripped");
            assert_eq!(status["generation"], before, "it grows at the recovery");
            billing.exempt_endpoints_answer().await;
            let refused = billing.post("/billing/subscriptions", &json!({})).await;
            assert_refusal(&refused);

            billing.partner_is("healthy").await;
            billing.subscriptions_until_served().await;
            assert!(billing.generation().await > before);
            assert_eq!(billing.get("/billing/prices").await.status(), 200);
        })
    });
    for drill in drills {
        drill.await.unwrap();
    }
}

#[tokio::test]
async fn an_operator_holds_it_and_lets_go() {
    let billing = Program::start().await;
    let before = billing.generation().await;

    let command = json!({ "actor": "on-call", "reason": "ticket 4711" });
    let answer = billing.post("/maintenance/engage", &command).await;
    assert_eq!(
        (answer.status(), read(&answer)["mode"].as_str()),
        (StatusCode::OK, Some("maintenance"))
    );
    let status = billing.maintenance().await;
    assert_eq!(status["causes"][0]["cause"], "operator");
    assert_eq!(status["causes"][0]["actor"], "on-call");
    assert_eq!(status["causes"][0]["reason"], "ticket 4711");
    assert_refusal(&billing.get("/billing/prices").await);
    assert_refusal(&billing.post("/billing/subscriptions", &json!([1])).await);
    billing.exempt_endpoints_answer().await;

    let answer = billing.post("/maintenance/release", &command).await;
    assert_eq!(
        (answer.status(), read(&answer)["mode"].as_str()),
        (StatusCode::OK, Some("serving"))
    );
    assert_eq!(billing.get("/billing/prices").await.status(), 200);
    let after = billing.generation().await;
    assert!(after > before);

    let answer = billing.post("/maintenance/release", &command).await;
    assert_eq!(answer.status(), 409);
    assert_eq!(read(&answer)["detail"], "no operator holds maintenance");
    assert_eq!(
        billing.generation().await,
        after,
        "what changes nothing gives no signal"
    );
}

#[tokio::test]
async fn prometheus_sees_the_state_in_maintenance_too() {
    let billing = Program::start().await;
    let has = async |line: &str| {
        let answer = billing.get("/metrics").await;
        let content_type = &answer.headers()["content-type"];
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        let page = str::from_utf8(answer.body()).unwrap();
        assert!(page.lines().any(|it| it == line), "no {line} in {page}");
    };
    assert_eq!(billing.get("/billing/prices").await.status(), 200);
    has(r#"maintenance_mode{partner="zuora",mode="serving"} 1"#).await;
    has(r#"maintenance_calls_total{partner="zuora",outcome="succeeded"} 1"#).await;
    has(r#"maintenance_call_seconds_count{partner="zuora",outcome="succeeded"} 1"#).await;

    let command = json!({ "actor": "me", "reason": "drill" });
    billing.post("/maintenance/engage", &command).await;
    assert_eq!(billing.get("/billing/prices").await.status(), 503);
    has(r#"maintenance_mode{partner="zuora",mode="maintenance"} 1"#).await;
    has(r#"maintenance_refused_total{partner="zuora"} 1"#).await;
    has(r#"maintenance_hold_remaining_seconds{partner="zuora"} inf"#).await;
    let totals = &billing.maintenance().await["totals"];
    assert_eq!(totals["episodes"], 1);
    assert_eq!(totals["trips"]["consecutive_failures"], 0);
    assert_eq!(totals["probes"]["started"], 0);
    assert!(totals["seconds_in"]["serving"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let billing = Program::start().await;
    let long = "x".repeat(257);
    let engage = "/maintenance/engage";
    for (path, body, status, detail) in [
        (engage, "{", 400, "EOF"),
        (engage, "", 400, "EOF"),
        (
            engage,
            r#"{"reason": "drill"}"#,
            422,
            "missing field `actor`",
        ),
        (engage, r#"{"actor": "me"}"#, 422, "missing field `reason`"),
        (
            engage,
            r#"{"actor": 7, "reason": "drill"}"#,
            422,
            "expected a string",
        ),
        (
            engage,
            r#"{"actor": " ", "reason": "drill"}"#,
            422,
            "the actor has 0 bytes",
        ),
        (
            engage,
            &format!(r#"{{"actor": "{long}", "reason": "drill"}}"#),
            422,
            "the actor has 257 bytes",
        ),
        ("/maintenance/release", "{}", 422, "missing field `actor`"),
        (
            "/billing/subscriptions",
            "plan=basic",
            400,
            "expected value",
        ),
        (
            "/partner/sleepy",
            "",
            404,
            "healthy, failing, slow, hanging or down",
        ),
    ] {
        let answer = billing.send(Method::POST, path, body.to_owned()).await;
        assert_eq!(answer.status(), status, "{path} {body}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let said = read(&answer)["detail"].as_str().unwrap().to_owned();
        assert!(said.contains(detail), "{path} {body}: {said}");
    }
    assert_eq!(billing.maintenance().await["mode"], "serving");
}

#[tokio::test]
async fn everything_else_is_plain_axum() {
    let billing = Program::start().await;
    let head = billing.send(Method::HEAD, "/billing/prices", "").await;
    assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
    for held in [false, true] {
        if held {
            let command = json!({ "actor": "on-call", "reason": "drill" });
            billing.post("/maintenance/engage", &command).await;
        }
        for (method, path, status) in [
            (Method::GET, "/nowhere", 404),
            (Method::GET, "/billing/invoices/7/pdf", 404),
            (Method::DELETE, "/billing/invoices/7", 405),
            (Method::GET, "/maintenance/engage", 405),
            (Method::GET, "/partner/failing", 405),
        ] {
            let answer = billing.send(method.clone(), path, "").await;
            assert_eq!(answer.status(), status, "{method} {path}");
        }
    }
    let head = billing.send(Method::HEAD, "/billing/prices", "").await;
    assert_refusal(&head);
}

const PRICES: &str = "/billing/prices";

impl Program {
    /// Sends a request as a browser with a session does.
    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        let headers = headers.iter().chain(&[("cookie", "session=7")]);
        let headers: Vec<_> = headers.copied().collect();
        self.send_with(method, path, &headers, "").await
    }
}

#[tokio::test]
async fn a_plan_is_bought_in_a_session_and_the_page_shows_it() {
    let billing = Program::start().await;
    let page = billing.get("/shop").await;
    let cookie = page.headers()["set-cookie"].to_str().unwrap();
    let session = cookie.split(';').next().unwrap().to_owned();
    assert!(
        session.starts_with("session=") && cookie.contains("HttpOnly"),
        "{cookie}"
    );
    let with = |method, path| {
        let session = session.clone();
        let billing = &billing;
        async move {
            billing
                .send_with(method, path, &[("cookie", &session)], "")
                .await
        }
    };
    let shown = |page: &Response<Bytes>, what| {
        std::str::from_utf8(page.body())
            .unwrap()
            .contains(&format!(">{what}<"))
    };
    assert!(shown(&page, "nothing yet"), "{page:?}");

    let buy = "/billing/purchases/pro";
    let bought = with(Method::POST, buy).await;
    assert_eq!(
        (bought.status().as_u16(), &bought.headers()["location"]),
        (303, &"/shop".parse().unwrap())
    );
    let page = with(Method::GET, "/shop").await;
    assert!(
        shown(&page, "pro") && !page.headers().contains_key("set-cookie"),
        "{page:?}"
    );

    let without = billing.send(Method::POST, buy, "").await;
    assert_eq!(without.status(), 403);
    assert!(
        read(&without)["detail"]
            .as_str()
            .unwrap()
            .contains("open /shop first")
    );
    let unknown = with(Method::POST, "/billing/purchases/gold").await;
    assert_eq!(
        (
            unknown.status().as_u16(),
            read(&unknown)["detail"].as_str().unwrap()
        ),
        (404, "there is no plan `gold`, only basic and pro")
    );
}

#[tokio::test]
async fn each_cure_can_be_switched_on_and_off() {
    let all_on = ["--last-good", "--expire-cookie", "--clear-site-data"];
    let all_off = ["--without-push", "--without-salted-etags", "--max-age=600"];
    let (cured, ill) = tokio::join!(Program::start_with(&all_on), Program::start_with(&all_off));
    let body = |answer: &Response<Bytes>| String::from_utf8(answer.body().to_vec()).unwrap();
    // The first page sets the cookie. Without cures to be told of there is none.
    let browser = [("sec-fetch-site", "none")];
    let first = cured.ask(Method::GET, "/shop", &browser).await;
    let told = first.headers()["set-cookie"].to_str().unwrap();
    let told = format!("session=7; {}", told.split(';').next().unwrap());
    let other = ill.ask(Method::GET, "/shop", &browser).await;
    assert!(!other.headers().contains_key("set-cookie"));
    assert!(body(&first).contains("/push/push-") && !body(&other).contains("/push/push-"));

    let mut tags = Vec::new();
    for (billing, age) in [(&cured, 0), (&ill, 600)] {
        let prices = billing.ask(Method::GET, PRICES, &[]).await;
        assert_eq!(read(&prices)["basic"], 19);
        assert_eq!(
            prices.headers()["cache-control"],
            format!("public, max-age={age}")
        );
        let tag = prices.headers()["etag"].to_str().unwrap().to_owned();
        let again = billing
            .ask(Method::GET, PRICES, &[("if-none-match", &tag)])
            .await;
        assert_eq!(again.status(), 304, "before a recovery");
        tags.push(tag);
    }

    // In maintenance: the last good answer, or a refusal.
    for billing in [&cured, &ill] {
        let hold = json!({ "actor": "on-call", "reason": "drill" });
        billing.post("/maintenance/engage", &hold).await;
    }
    let kept = cured.ask(Method::GET, PRICES, &[]).await;
    assert_eq!(
        (kept.status().as_u16(), read(&kept)["basic"].as_u64()),
        (200, Some(19))
    );
    assert!(kept.headers().contains_key("cache-status") && kept.headers().contains_key("age"));
    assert_refusal(&ill.ask(Method::GET, PRICES, &[]).await);
    for billing in [&cured, &ill] {
        assert_refusal(
            &billing
                .ask(Method::POST, "/billing/purchases/pro", &[])
                .await,
        );
        billing.partner_is("healthy").await;
        let release = json!({ "actor": "on-call", "reason": "it was one" });
        billing.post("/maintenance/release", &release).await;
    }

    // After the recovery the partner's tag is the same, and its prices are not.
    let prices = cured
        .ask(Method::GET, PRICES, &[("if-none-match", &tags[0])])
        .await;
    assert_eq!(
        (prices.status().as_u16(), read(&prices)["basic"].as_u64()),
        (200, Some(20))
    );
    let prices = ill
        .ask(Method::GET, PRICES, &[("if-none-match", &tags[1])])
        .await;
    assert_eq!(
        (&*tags[1], prices.status().as_u16()),
        ("\"price-list\"", 304)
    );

    let page = [
        ("sec-fetch-site", "none"),
        ("cookie", &*told),
        ("host", "localhost"),
    ];
    let healed = cured.send_with(Method::GET, "/shop", &page, "").await;
    assert_eq!(healed.headers()["clear-site-data"], "\"cache\"");
    let cookies = healed.headers().get_all("set-cookie").iter();
    assert!(
        cookies
            .into_iter()
            .any(|cookie| cookie.to_str().unwrap().starts_with("offer=; "))
    );
    let other = ill.send_with(Method::GET, "/shop", &page, "").await;
    assert!(!other.headers().contains_key("clear-site-data"));
    assert!(!other.headers().contains_key("set-cookie"));
}

/// On the ramp some requests are served and some refused, and no cache is told of a recovery before
/// all are served.
#[tokio::test]
async fn with_a_ramp_traffic_grows_first_and_caches_are_told_at_its_end() {
    let billing = Program::start_with(&["--ramp", "5"]).await;
    let before = billing.generation().await;
    billing.partner_is("failing").await;
    billing.prices_until_refused().await;
    billing.partner_is("healthy").await;
    let (mut served, mut refused) = (0, 0);
    let recovers = async {
        loop {
            let status = billing.maintenance().await;
            if status["mode"] == "serving" {
                break;
            }
            assert_eq!(status["generation"], before, "{status}");
            let answer = billing.get(PRICES).await.status();
            // Requests are not counted if the ramp may have begun or ended meanwhile.
            let is_ramp = |status: &Value| status["probing"]["ramp_share"].is_number();
            if is_ramp(&status) && is_ramp(&billing.maintenance().await) {
                served += u32::from(answer == StatusCode::OK);
                refused += u32::from(answer == StatusCode::SERVICE_UNAVAILABLE);
            }
        }
    };
    soon(recovers).await;
    assert!(served > 0 && refused > 0, "{served} and {refused}");
    assert!(billing.generation().await > before);
    assert_eq!(billing.get(PRICES).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_shop_says_what_goes_on_while_purchases_are_refused() {
    let billing = Program::start().await;
    billing.partner_is("failing").await;
    billing.prices_until_refused().await;
    for path in [
        "/shop",
        "/shop.js",
        "/maintenance/notice.js",
        "/maintenance/notice.json",
    ] {
        assert_eq!(billing.get(path).await.status(), 200, "{path}");
    }
    let page = [("accept", "text/html"), ("cookie", "session=7")];
    let refused = billing
        .send_with(Method::POST, "/billing/purchases/pro", &page, "")
        .await;
    let shown = std::str::from_utf8(refused.body()).unwrap();
    assert_eq!(refused.status(), 503);
    assert!(
        shown.contains("Billing is temporarily unavailable for maintenance"),
        "{shown}"
    );
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(executable()).args(arguments).output().unwrap()
}

#[test]
fn it_listens_on_loopback_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let ended = run(&["--listen", address]);
        assert_eq!(ended.status.code(), Some(2));
        assert_eq!(ended.stdout, b"");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(
            said.contains("will not listen on") && said.contains("must be a loopback address"),
            "{said}"
        );
    }
}

#[test]
fn arguments_that_make_no_sense_are_named() {
    for (arguments, complaint) in [
        (&["--listen"] as &[_], "`--listen` lacks its address"),
        (
            &["--listen", "8080"],
            "`8080` is not an address such as 127.0.0.1:8080",
        ),
        (&["--listen=everywhere"], "`everywhere` is not an address"),
        (&["--port", "1"], "`--port` is not an option"),
        (&["--without-etags"], "`--without-etags` is not an option"),
        (&["--push=no"], "`--push=no` is not an option"),
        (&["--config"], "`--config` lacks its file"),
        (&["--max-age"], "`--max-age` lacks its seconds"),
        (
            &["--max-age", "10m"],
            "`--max-age 10m`: a whole number of seconds is needed",
        ),
        (
            &["--ramp=-1"],
            "`--ramp -1`: a whole number of seconds is needed",
        ),
    ] {
        let ended = run(arguments);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains(complaint), "{said}");
    }
    let help = run(&["--help"]);
    let said = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success());
    for (cure, default) in [
        ("push", "on"),
        ("salted-etags", "on"),
        ("last-good", "off"),
        ("expire-cookie", "off"),
        ("clear-site-data", "off"),
    ] {
        let flag = format!("--[without-]{cure} ");
        let line = said.lines().find(|line| line.contains(&flag)).unwrap();
        assert!(line.ends_with(&format!("[default: {default}]")), "{line}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ends_it() {
    let mut billing = Program::start().await;
    // A browser tab waits for a recovery: the head of its stream has come.
    let address = billing.url.strip_prefix("http://").unwrap();
    let mut tab = TcpStream::connect(address).await.unwrap();
    let asks = format!("GET /push/events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    tab.write_all(asks.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    soon(tab.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let id = billing.child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(sent.success());
    let ended = soon(async {
        loop {
            if let Some(status) = billing.child.try_wait().unwrap() {
                return status;
            }
            sleep(millis(10)).await;
        }
    });
    assert!(ended.await.success());
}

#[test]
fn the_page_of_exempt_endpoints_is_current() {
    let config = example::load::built_in(&Default::default()).unwrap();
    let refusals = config.texts.refusals().unwrap();
    let exempt = example::layer(&config, refusals)
        .unwrap()
        .handle()
        .exemptions();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/exempt-endpoints.md");
    assert_runbook_is_current(&exempt, page);
}
