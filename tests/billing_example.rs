//! `examples/billing.rs` does what its first page says: the built program, driven over HTTP.
#![cfg(all(feature = "axum", feature = "serde", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use std::{
    process::{Command, Output},
    time::Duration,
};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tower_maintenance::testing::{assert_refusal, assert_runbook_is_current};

// The program's source, for the exemptions it was built with.
#[path = "../examples/billing.rs"]
#[expect(dead_code, reason = "the rest of it runs in a process of its own")]
mod billing;
#[path = "support/program.rs"]
mod program;

use program::{Program, executable, read, soon};

impl Program {
    async fn partner_is(&self, phase: &str) {
        let answer = self.post(&format!("/partner/{phase}"), &Value::Null).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
    }

    async fn generation(&self) -> u64 {
        self.maintenance().await["generation"].as_u64().unwrap()
    }

    /// Asks for prices until that is refused, and returns how often the partner failed before.
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

    /// Nobody but customers who want to subscribe call, and theirs are no probes.
    async fn subscriptions_until_served(&self) {
        let plan = json!({ "plan": "basic" });
        soon(async {
            while self.post("/billing/subscriptions", &plan).await.status() != StatusCode::OK {
                tokio::time::sleep(Duration::from_millis(20)).await;
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
    // Side by side, because a partner that hangs takes its time.
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

fn run(arguments: &[&str]) -> Output {
    Command::new(executable()).args(arguments).output().unwrap()
}

#[test]
fn it_listens_on_loopback_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let ended = run(&["--listen", address]);
        assert!(!ended.status.success());
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
            "`8080` is no address such as 127.0.0.1:8080",
        ),
        (&["--listen=everywhere"], "`everywhere` is no address"),
        (&["--port", "1"], "what is `--port`?"),
    ] {
        let ended = run(arguments);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(
            !ended.status.success() && said.contains(complaint),
            "{said}"
        );
    }
    assert!(run(&["--help"]).status.success());
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ends_it() {
    let mut billing = Program::start().await;
    assert_eq!(billing.get("/health/live").await.status(), 200);
    let id = billing.child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(sent.success());
    let ended = soon(async {
        loop {
            if let Some(status) = billing.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(ended.await.success());
}

#[test]
fn the_page_of_exempt_endpoints_is_current() {
    let exempt = billing::layer().unwrap().handle().exemptions();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/exempt-endpoints.md");
    assert_runbook_is_current(&exempt, page);
}
