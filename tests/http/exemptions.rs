//! Exempt endpoints: which calls pass, which count, what is an error, and what the runbook shows.

use std::{convert::Infallible, path::Path, process::Command, time::Duration};

use axum::{Router, body::Body, routing::get};
use http::{Request, Response};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{
    Action, BuildError, Calls, CommandError, EventKind, Exemption, ExemptionTable,
    MaintenanceHandle, MaintenanceLayer, Named, Plain, Policy,
    testing::{
        PartnerError, SimulatedPartner, assert_in_maintenance, assert_let_through, assert_probing,
        assert_refused, assert_runbook_is_current, assert_serving, assert_tripped,
    },
};

use crate::support::hold;

/// A call to the partner, by its name.
#[derive(Debug, Clone, Copy)]
struct Call(&'static str);

impl Call {
    fn name(&self) -> &str {
        self.0
    }
}

const INVOICE: Call = Call("invoice.read");
const CHARGE: Call = Call("charge");
const OWED: &str = "customers may always see what they owe";

type ByName = Calls<Named<fn(&Call) -> &str, Plain>>;

fn build(exempt: &[Exemption]) -> Result<MaintenanceLayer<ByName>, BuildError> {
    let policy = Policy::default().with_consecutive_failures(3);
    let mut builder = MaintenanceLayer::builder("zuora").policy(policy);
    for exemption in exempt {
        builder = builder.exempt(exemption.clone());
    }
    Ok(builder.build()?.named(Call::name as fn(&Call) -> &str))
}

fn layer(exempt: &[Exemption]) -> MaintenanceLayer<ByName> {
    build(exempt).unwrap()
}

fn unhold(handle: &MaintenanceHandle) {
    handle.release("on-call", "ticket 4711").unwrap();
}

fn names(table: &ExemptionTable) -> Vec<&str> {
    table.iter().map(Exemption::name).collect()
}

// ---- calls that pass ----------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_call_is_exempt_by_its_exact_name() {
    let layer = layer(&[Exemption::call("invoice.read", OWED)]);
    let partner = SimulatedPartner::healthy();
    let billing = layer.layer(partner.clone());
    hold(&layer.handle());

    billing.clone().oneshot(INVOICE).await.unwrap();
    for name in [
        "invoice",
        "invoice.read.all",
        "Invoice.read",
        "invoice.read ",
        "",
    ] {
        assert_refused(billing.clone().oneshot(Call(name)).await);
    }
    assert_eq!(partner.calls(), 1);
    assert_eq!(layer.handle().status().calls.exempt, 1);
}

#[tokio::test(start_paused = true)]
async fn exempt_calls_pass_in_every_mode_and_never_probe() {
    let layer = layer(&[Exemption::call("invoice.read", OWED)]);
    let handle = layer.handle();
    let partner = SimulatedPartner::healthy();
    let billing = layer.layer(partner.clone());
    let invoice = async || {
        let call = billing.clone().oneshot(INVOICE);
        assert_let_through(call.await).is_ok()
    };

    assert!(invoice().await);
    handle.trip("on-call", "drill").unwrap();
    assert!(invoice().await);
    handle.probe_now("on-call", "drill").unwrap();
    let untouched = handle.status().probing;
    for _ in 0..5 {
        assert!(invoice().await);
    }
    partner.break_down();
    for _ in 0..5 {
        assert!(!invoice().await);
    }
    assert_probing(&handle);
    assert_eq!(handle.status().probing, untouched);
}

#[tokio::test(start_paused = true)]
async fn an_exemption_belongs_to_its_placement() {
    let ours = Exemption::route("/invoices/{id}", OWED);
    let theirs = Exemption::http_call("/invoices/{id}", OWED);
    for (exempt, our_status, their_call_passes) in [
        (vec![ours.clone()], 200, false),
        (vec![theirs.clone()], 503, true),
        // The same pattern at both placements makes two exemptions, and is not listed twice.
        (vec![ours, theirs], 200, true),
    ] {
        let layer = layer(&exempt);
        let echo =
            service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
        let calls = layer.http_calls().layer(echo);
        let app: Router = Router::new()
            .route("/invoices/{id}", get(async || "invoice"))
            .layer(layer.routes());
        hold(&layer.handle());

        let invoice = || Request::get("/invoices/7").body(Body::empty()).unwrap();
        let answer = app.oneshot(invoice()).await.unwrap();
        assert_eq!(answer.status(), our_status);
        assert_eq!(calls.oneshot(invoice()).await.is_ok(), their_call_passes);
    }
}

// ---- what is an error ---------------------------------------------------------------------------

/// The error of building with these exemptions. Replacing them gives the same error.
fn fault(exempt: &[Exemption]) -> String {
    let built = build(exempt).unwrap_err();
    let handle = layer(&[]).handle();
    let replaced = handle.replace_exemptions(exempt.to_vec(), "on-call", "drill");
    assert_eq!(replaced.unwrap_err().to_string(), built.to_string());
    assert!(handle.exemptions().is_empty());
    built.to_string()
}

#[test]
fn an_exemption_needs_a_reason_and_a_name() {
    for reason in ["", " ", "\n\t"] {
        for exemption in [
            Exemption::call("/health/live", reason),
            Exemption::route("/health/live", reason),
            Exemption::http_call("/health/live", reason),
        ] {
            assert_eq!(
                fault(&[exemption]),
                "exemptions: the exemption of `/health/live` has no reason: \
                 say why maintenance must not affect it"
            );
        }
    }
    assert_eq!(
        fault(&[Exemption::call("charge", OWED), Exemption::call("", OWED)]),
        "exemptions: exemption 2 (around calls) has no name: \
         give the name or the pattern of the endpoint"
    );
}

#[test]
fn an_endpoint_is_listed_once() {
    let twice = |exemption: Exemption| fault(&[exemption.clone(), exemption.counted()]);
    assert_eq!(
        twice(Exemption::call("invoice.read", OWED)),
        "exemptions: `invoice.read` is exempt twice around calls: list it once"
    );
    assert_eq!(
        twice(Exemption::route("/health/live", OWED)),
        "exemptions: `/health/live` is exempt twice before routes: list it once"
    );
    // The same paths with another name for the parameter: no router accepts both.
    let error = fault(&[
        Exemption::route("/invoices/{id}", OWED),
        Exemption::route("/invoices/{number}", OWED),
    ]);
    assert!(
        error.starts_with("exemptions: the pattern `/invoices/{number}` is not valid: "),
        "{error}"
    );
}

#[test]
fn a_pattern_is_one_that_a_router_takes() {
    for pattern in ["health", "/a/{", "/a/{}", "/a/{*rest}/b", "/a/{id}{more}"] {
        for exemption in [
            Exemption::route(pattern, OWED),
            Exemption::http_call(pattern, OWED),
        ] {
            let error = fault(&[exemption]);
            let named = format!("exemptions: the pattern `{pattern}` is not valid: ");
            assert!(error.starts_with(&named), "{error}");
        }
    }
}

// ---- replacing while running --------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_replacement_is_in_force_at_once_and_in_the_audit_trail() {
    let layer = layer(&[Exemption::call("invoice.read", OWED)]);
    let handle = layer.handle();
    let mut events = handle.events();
    let billing = layer.layer(SimulatedPartner::healthy());
    let charge = Exemption::call("charge", "promised to a customer");
    handle
        .replace_exemptions([charge], "on-call", "ticket 12")
        .unwrap();
    assert_eq!(
        events.recv().await.unwrap().kind,
        EventKind::ExemptionsReplaced
    );

    hold(&handle);
    assert_refused(billing.clone().oneshot(INVOICE).await);
    billing.clone().oneshot(CHARGE).await.unwrap();
    assert_eq!(names(&handle.exemptions()), ["charge"]);
    let audit = &handle.audit()[0];
    assert_eq!(
        (audit.action, &*audit.actor, &*audit.reason),
        (Action::ReplaceExemptions, "on-call", "ticket 12")
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_replacement_leaves_the_old_ones_in_force() {
    let layer = layer(&[Exemption::call("invoice.read", OWED)]);
    let handle = layer.handle();
    let before = handle.exemptions();
    let good = Exemption::call("charge", "promised");
    let wrong = handle.replace_exemptions(
        [good.clone(), Exemption::call("refund", "")],
        "on-call",
        "drill",
    );
    assert!(
        matches!(wrong, Err(CommandError::Exemption(_))),
        "{wrong:?}"
    );
    // Valid exemptions without an actor or without a reason are refused as well.
    for (actor, reason) in [("", "drill"), ("on-call", " ")] {
        let wrong = handle.replace_exemptions([good.clone()], actor, reason);
        assert!(matches!(wrong, Err(CommandError::Text { .. })), "{wrong:?}");
    }
    assert_eq!(handle.exemptions(), before);
    assert!(handle.audit().is_empty());

    hold(&handle);
    let billing = layer.layer(SimulatedPartner::healthy());
    billing.clone().oneshot(INVOICE).await.unwrap();
    assert_refused(billing.oneshot(CHARGE).await);
}

/// A partner that answers when the test says so.
#[derive(Clone)]
struct ByHand {
    calls: mpsc::UnboundedSender<oneshot::Sender<Result<(), PartnerError>>>,
}

impl ByHand {
    fn new() -> (
        Self,
        mpsc::UnboundedReceiver<oneshot::Sender<Result<(), PartnerError>>>,
    ) {
        let (calls, begun) = mpsc::unbounded_channel();
        (Self { calls }, begun)
    }

    async fn answer(self) -> Result<(), PartnerError> {
        let (answer, answered) = oneshot::channel();
        self.calls.send(answer).unwrap();
        answered.await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_let_in_as_exempt_stays_so() {
    let layer = layer(&[Exemption::call("invoice.read", OWED)]);
    let handle = layer.handle();
    let (partner, mut begun) = ByHand::new();
    let billing = layer.layer(service_fn(move |_: Call| partner.clone().answer()));
    hold(&handle);

    let invoice = tokio::spawn(billing.clone().oneshot(INVOICE));
    let call = begun.recv().await.unwrap();
    handle
        .replace_exemptions([], "on-call", "nothing passes")
        .unwrap();
    assert_refused(billing.clone().oneshot(INVOICE).await);
    call.send(Ok(())).unwrap();
    invoice.await.unwrap().unwrap();

    // The same in `Serving`: a call that was let in uncounted does not count, although the
    // exemption is gone when it fails.
    unhold(&handle);
    for (exempt, counts) in [
        (Exemption::call("invoice.read", OWED), 0),
        (Exemption::call("invoice.read", OWED).counted(), 1),
    ] {
        handle
            .replace_exemptions([exempt], "on-call", "drill")
            .unwrap();
        let invoice = tokio::spawn(billing.clone().oneshot(INVOICE));
        let call = begun.recv().await.unwrap();
        handle.replace_exemptions([], "on-call", "drill").unwrap();
        call.send(Err(PartnerError::ConnectionReset)).unwrap();
        assert!(invoice.await.unwrap().is_err());
        assert_eq!(handle.status().window.failed, counts);
    }
}

// ---- what counts --------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn an_exempt_call_is_not_counted_unless_asked() {
    let layer = layer(&[Exemption::call("invoice.read", OWED)]);
    let handle = layer.handle();
    let partner = SimulatedPartner::healthy();
    let billing = layer.layer(partner.clone());
    partner.break_down();
    for _ in 0..20 {
        let _ = billing.clone().oneshot(INVOICE).await;
    }
    assert_serving(&handle);
    let status = handle.status();
    assert_eq!(
        (
            status.window.total,
            status.calls.admitted,
            status.calls.exempt
        ),
        (0, 0, 20)
    );
}

#[tokio::test(start_paused = true)]
async fn a_counted_exemption_counts_in_serving_and_only_there() {
    let layer = layer(&[Exemption::call("invoice.read", OWED).counted()]);
    let handle = layer.handle();
    let partner = SimulatedPartner::healthy();
    let billing = layer.layer(partner.clone());
    let invoice = async || drop(billing.clone().oneshot(INVOICE).await);

    // In `Serving` it takes part in the decision.
    partner.break_down();
    for _ in 0..3 {
        assert_serving(&handle);
        invoice().await;
    }
    assert_eq!(assert_tripped(&handle).failed, 3);
    let tripped = handle.status();

    // In `Maintenance` it passes as before, and moves nothing.
    for _ in 0..3 {
        invoice().await;
    }
    let status = handle.status();
    assert_eq!(status.calls.admitted, tripped.calls.admitted);
    assert_eq!(status.window, tripped.window);
    assert_eq!(status.causes, tripped.causes, "the wait goes on as it was");

    // In `Probing` it gives no evidence, for or against the partner.
    handle.probe_now("on-call", "drill").unwrap();
    let probing = handle.status();
    invoice().await;
    partner.mend();
    for _ in 0..5 {
        invoice().await;
    }
    let status = handle.status();
    assert_eq!(
        (status.probing, status.window),
        (probing.probing, probing.window)
    );
    assert_eq!(status.calls.admitted, tripped.calls.admitted);
    assert_eq!(partner.calls(), 12, "all of them passed");
}

#[tokio::test(start_paused = true)]
async fn a_counted_call_that_ends_in_a_later_era_is_late() {
    let layer = layer(&[Exemption::call("invoice.read", OWED).counted()]);
    let handle = layer.handle();
    let (partner, mut begun) = ByHand::new();
    let billing = layer.layer(service_fn(move |_: Call| partner.clone().answer()));

    let invoice = tokio::spawn(billing.oneshot(INVOICE));
    let call = begun.recv().await.unwrap();
    hold(&handle);
    unhold(&handle);
    call.send(Err(PartnerError::ConnectionReset)).unwrap();
    assert!(invoice.await.unwrap().is_err());
    let status = handle.status();
    assert_eq!((status.window.total, status.calls.late), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn before_routes_nothing_is_counted_asked_or_not() {
    let layer = layer(&[Exemption::route("/invoices/{id}", OWED).counted()]);
    let app: Router = Router::new()
        .route(
            "/invoices/{id}",
            get(async || http::StatusCode::BAD_GATEWAY),
        )
        .layer(layer.routes());
    for _ in 0..5 {
        let invoice = Request::get("/invoices/7").body(Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(invoice).await.unwrap().status(), 502);
    }
    let status = layer.handle().status();
    assert_eq!((status.calls.admitted, status.calls.exempt), (0, 5));
    hold(&layer.handle());
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_in_maintenance(&layer.handle());
}

// ---- what the runbook shows ---------------------------------------------------------------------

#[test]
fn the_table_lists_everything_in_order() {
    let table = layer(&[
        Exemption::route("/health/{*check}", "a 503 restarts healthy pods"),
        Exemption::call("invoice.read", OWED).counted(),
        Exemption::http_call("/v1/invoices/{id}", OWED),
    ])
    .handle()
    .exemptions();
    assert_eq!((table.len(), table.is_empty()), (3, false));
    assert_eq!(
        names(&table),
        ["/health/{*check}", "invoice.read", "/v1/invoices/{id}"]
    );
    let markdown = "\
| placement | endpoint | methods | counted | why |
|---|---|---|---|---|
| before routes | `/health/{*check}` | all | no | a 503 restarts healthy pods |
| around calls | `invoice.read` | all | yes | customers may always see what they owe |
| around calls | `/v1/invoices/{id}` | all | no | customers may always see what they owe |
";
    assert_eq!(table.to_markdown(), markdown);
    assert_eq!(table.to_string(), markdown);

    let written: serde_json::Value = serde_json::from_str(&table.to_json()).unwrap();
    assert_eq!(written, serde_json::to_value(&table).unwrap());
    assert_eq!(
        written,
        json!([
            { "placement": "before_routes", "endpoint": "/health/{*check}", "condition": false,
              "methods": null, "counted": false,
              "why": "a 503 restarts healthy pods" },
            { "placement": "around_calls", "endpoint": "invoice.read", "condition": false,
              "methods": null, "counted": true,
              "why": OWED },
            { "placement": "around_calls", "endpoint": "/v1/invoices/{id}", "condition": false,
              "methods": null, "counted": false,
              "why": OWED },
        ])
    );
}

#[test]
fn a_table_of_nothing_is_a_table_all_the_same() {
    let table = layer(&[]).handle().exemptions();
    assert_eq!(
        table.to_markdown(),
        "| placement | endpoint | methods | counted | why |\n|---|---|---|---|---|\n"
    );
    assert_eq!(table.to_json(), "[]\n");
}

/// The text of each cell of a row, as a Markdown reader shows it.
fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut chars = row.chars();
    while let Some(c) = chars.next() {
        match (c, cells.last_mut().unwrap()) {
            ('\\', cell) => cell.extend(chars.next()),
            ('|', _) => cells.push(String::new()),
            (c, cell) => cell.push(c),
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

#[test]
fn no_text_breaks_out_of_its_cell() {
    let why = "a|b \\| c\\ \r\n| d \u{7} \\";
    let table = layer(&[Exemption::call("a|b\\|c\\", why)])
        .handle()
        .exemptions();
    let markdown = table.to_markdown();
    assert_eq!(markdown.lines().count(), 3);
    assert_eq!(
        cells(markdown.lines().last().unwrap()),
        [
            "",
            "around calls",
            "`a|b\\|c\\`",
            "all",
            "no",
            "a|b \\| c\\   | d   \\",
            ""
        ]
    );
    let written: serde_json::Value = serde_json::from_str(&table.to_json()).unwrap();
    assert_eq!(written[0]["endpoint"], "a|b\\|c\\");
    assert_eq!(written[0]["why"], why);
}

#[test]
fn a_runbook_is_rewritten_when_the_environment_asks_for_it() {
    // This test starts itself once more, as a process with an environment of its own.
    if let Ok(runbook) = std::env::var("THE_RUNBOOK") {
        let exempt = layer(&[Exemption::call("invoice.read", OWED)])
            .handle()
            .exemptions();
        assert_runbook_is_current(&exempt, runbook);
        return;
    }
    let runbook = Path::new(env!("CARGO_TARGET_TMPDIR")).join("a-runbook-to-be-rewritten.md");
    let old = "| placement | endpoint | methods | counted | why |\n|---|---|---|---|---|\n";
    std::fs::write(&runbook, old).unwrap();
    let run = |update: Option<&str>| {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args([
            "--exact",
            "exemptions::a_runbook_is_rewritten_when_the_environment_asks_for_it",
        ]);
        test.env("THE_RUNBOOK", &runbook)
            .env_remove("UPDATE_RUNBOOK");
        let ended = test
            .envs(update.map(|value| ("UPDATE_RUNBOOK", value)))
            .output()
            .unwrap();
        let said = String::from_utf8(ended.stdout).unwrap();
        (ended.status.success(), said)
    };
    for no in [None, Some("0"), Some("")] {
        let (current, said) = run(no);
        assert!(
            !current && said.contains("+ | around calls | `invoice.read` |"),
            "{said}"
        );
        assert!(said.contains("UPDATE_RUNBOOK=1 cargo test"), "{said}");
        assert_eq!(std::fs::read_to_string(&runbook).unwrap(), old);
    }
    assert!(run(Some("1")).0);
    assert!(run(None).0, "it is current now");
    std::fs::remove_file(&runbook).unwrap();
}
