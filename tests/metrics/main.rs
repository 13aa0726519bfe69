//! What `publish_metrics` and the histogram write, as a real exporter shows it, and the page of the
//! guide that is the contract.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic: that is how they fail"
)]

mod contract;
mod keys;
mod scrape;

use std::{io, time::Duration};

use scrape::Exporter;
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{
    Exemption, Hold, MaintenanceLayer, Mode, Outcome, Policy, Rate, Verdict, Window,
};

const SECOND: Duration = Duration::from_secs(1);

/// Trips at two failures in a row, waits for two seconds, and needs one probe.
fn policy() -> Policy {
    Policy::new(Window::calls(10), Rate::HALF)
        .with_min_calls(4)
        .with_consecutive_failures(2)
        .with_wait(2 * SECOND)
        .with_wait_growing(1.0, 2 * SECOND)
        .with_jitter(0.0)
        .with_successes_needed(1)
}

/// What the partner does with a call.
#[derive(Debug, Clone, Copy)]
enum Does {
    Succeed,
    Fail,
    AnswerNeutral,
    FailByOurFault,
    Hang,
}

async fn partner(does: Does) -> Result<Does, io::Error> {
    match does {
        Does::Fail => Err(io::Error::other("502")),
        Does::Hang => std::future::pending().await,
        _ => Ok(does),
    }
}

fn verdict(answer: Result<&Does, &io::Error>) -> Verdict {
    match answer {
        Ok(Does::AnswerNeutral) => Outcome::Neutral.into(),
        Ok(Does::FailByOurFault) => Verdict::ours(),
        Ok(_) => Outcome::Success.into(),
        Err(_) => Outcome::Failure.into(),
    }
}

macro_rules! call {
    ($layer:expr, $does:expr) => {
        $layer
            .judged_by(verdict)
            .layer(service_fn(partner))
            .oneshot($does)
    };
}

fn layer(name: &str) -> MaintenanceLayer {
    let builder = MaintenanceLayer::builder(name).policy(policy());
    builder.build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_trip_of_2_s_between_two_scrapes_is_seen() {
    let (exporter, layer) = (Exporter::new(), layer("zuora"));
    let _installed = exporter.install();
    let handle = layer.handle();

    advance(10 * SECOND).await;
    handle.publish_metrics();
    let before = exporter.scrape();

    for _ in 0..2 {
        call!(layer, Does::Fail).await.unwrap_err();
    }
    advance(2 * SECOND).await;
    call!(layer, Does::Succeed).await.unwrap();
    advance(13 * SECOND).await;
    handle.publish_metrics();
    let after = exporter.scrape();

    let zuora = r#"partner="zuora""#;
    let serving = format!(r#"maintenance_mode{{{zuora},mode="serving"}}"#);
    assert_eq!((before.of(&serving), after.of(&serving)), (1.0, 1.0));
    let grew = |labels: &str| after.of(labels) - before.of(labels);
    let seconds = |mode| format!(r#"maintenance_mode_seconds_total{{{zuora},mode="{mode}"}}"#);
    assert_eq!(grew(&seconds("maintenance")), 2.0);
    assert_eq!(grew(&seconds("serving")), 13.0);
    let trips = format!(r#"maintenance_trips_total{{{zuora},rule="consecutive_failures"}}"#);
    assert_eq!(grew(&trips), 1.0);
    assert_eq!(grew(&format!("maintenance_episodes_total{{{zuora}}}")), 1.0);
    let probes = format!(r#"maintenance_probes_total{{{zuora},outcome="succeeded"}}"#);
    assert_eq!(grew(&probes), 1.0);
    let generation = format!("maintenance_generation{{{zuora}}}");
    assert_eq!(after.of(&generation), handle.generation() as f64);
}

/// Half a second of maintenance, three times, is one second and not none.
#[tokio::test(start_paused = true)]
async fn fractions_of_a_second_add_up() {
    let (exporter, layer) = (Exporter::new(), layer("zuora"));
    let _installed = exporter.install();
    let handle = layer.handle();
    for _ in 0..3 {
        handle.engage(Hold::new("on-call", "drill")).unwrap();
        advance(SECOND / 2).await;
        handle.release("on-call", "drill over").unwrap();
        handle.publish_metrics();
    }
    let seconds = r#"maintenance_mode_seconds_total{partner="zuora",mode="maintenance"}"#;
    assert_eq!(exporter.scrape().of(seconds), 1.0);
}

/// Makes nine calls that end in all ways.
async fn call_in_all_ways(layer: &MaintenanceLayer) {
    let inner = MaintenanceLayer::new("an account of zuora");
    inner.handle().trip("on-call", "drill").unwrap();

    use Does::{AnswerNeutral, Fail, FailByOurFault, Hang, Succeed};
    for does in [
        Succeed,
        Succeed,
        Succeed,
        Fail,
        AnswerNeutral,
        FailByOurFault,
    ] {
        let _ = call!(layer, does).await;
    }
    // Refused by a layer further in.
    let refusing = inner.layer(service_fn(partner));
    layer.layer(refusing).oneshot(Succeed).await.unwrap_err();
    // Given up at once, and after the hang limit.
    for patience in [SECOND, 6 * SECOND] {
        let hanging = tokio::time::timeout(patience, call!(layer, Hang));
        hanging.await.unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn each_call_that_ended_is_in_exactly_one_outcome() {
    let exporter = Exporter::new();
    let _installed = exporter.install();
    let builder = MaintenanceLayer::builder("zuora").policy(Policy::default());
    let layer = builder.latency_histogram("zuora").build().unwrap();
    call_in_all_ways(&layer).await;
    let mut under_way = Box::pin(call!(layer, Does::Hang));
    assert!(tokio_test::task::spawn(&mut under_way).poll().is_pending());

    layer.handle().publish_metrics();
    let scrape = exporter.scrape();
    let calls = scrape.by_label("maintenance_calls_total", "outcome");
    let expected = [
        ("abandoned", 1.0),
        ("failed", 2.0),
        ("neutral", 1.0),
        ("ours", 1.0),
        ("refused_within", 1.0),
        ("succeeded", 3.0),
    ];
    assert_eq!(calls, expected.map(|(outcome, n)| (outcome.to_owned(), n)));
    let ended: f64 = calls.iter().map(|(_, calls)| calls).sum();
    let in_flight = scrape.of(r#"maintenance_in_flight{partner="zuora"}"#);
    let admitted = layer.handle().status().calls.admitted as f64;
    assert_eq!((ended, in_flight, admitted), (9.0, 1.0, 10.0));
    // The histogram has the same calls.
    let timed = scrape.by_label("maintenance_call_seconds_count", "outcome");
    assert_eq!(timed, calls);
    let waited = r#"maintenance_call_seconds_sum{partner="zuora",outcome="abandoned"}"#;
    assert_eq!(scrape.of(waited), 1.0);
}

/// The fast way of a success, that of a probe, and that under a slow-call rule.
#[tokio::test(start_paused = true)]
async fn the_histogram_has_each_call_once_however_it_lands() {
    let slow = policy().with_slow_calls(SECOND / 2, Rate::HALF);
    for policy in [
        policy(),
        slow,
        Policy::new(Window::time(60 * SECOND), Rate::HALF).with_consecutive_failures(2),
    ] {
        let exporter = Exporter::new();
        let _installed = exporter.install();
        let builder = MaintenanceLayer::builder("zuora").policy(policy);
        let layer = builder.latency_histogram("zuora").build().unwrap();
        let answers_late = service_fn(async |does| {
            tokio::time::sleep(SECOND / 4).await;
            partner(does).await
        });
        let mut billing = layer.layer(answers_late);
        let mut call = async |does| billing.ready().await?.call(does).await;
        for _ in 0..100 {
            call(Does::Succeed).await.unwrap();
        }
        for _ in 0..2 {
            call(Does::Fail).await.unwrap_err();
        }
        layer.handle().probe_now("on-call", "drill").unwrap();
        call(Does::Succeed).await.unwrap();
        let scrape = exporter.scrape();
        let of = |what, outcome| {
            scrape.of(&format!(
                r#"maintenance_call_seconds_{what}{{partner="zuora",outcome="{outcome}"}}"#
            ))
        };
        assert_eq!(
            (of("count", "succeeded"), of("count", "failed")),
            (101.0, 2.0)
        );
        assert_eq!((of("sum", "succeeded"), of("sum", "failed")), (25.25, 0.5));
    }
}

#[tokio::test]
async fn without_the_opt_in_there_is_no_histogram() {
    let (exporter, layer) = (Exporter::new(), layer("zuora"));
    let _installed = exporter.install();
    call!(layer, Does::Succeed).await.unwrap();
    layer.handle().publish_metrics();
    assert!(!exporter.page().contains("maintenance_call_seconds"));
}

#[tokio::test]
async fn the_rates_are_nan_below_min_calls() {
    let (exporter, layer) = (Exporter::new(), layer("zuora"));
    let _installed = exporter.install();
    let handle = layer.handle();
    let rate = r#"maintenance_failure_rate{partner="zuora"}"#;
    let slow_rate = r#"maintenance_slow_rate{partner="zuora"}"#;
    for does in [Does::Succeed, Does::Fail, Does::Succeed] {
        let _ = call!(layer, does).await;
    }
    handle.publish_metrics();
    assert!(exporter.scrape().of(rate).is_nan());
    assert!(exporter.scrape().of(slow_rate).is_nan());
    call!(layer, Does::Succeed).await.unwrap();
    handle.publish_metrics();
    assert_eq!(exporter.scrape().of(rate), 0.25);
    assert_eq!(exporter.scrape().of(slow_rate), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_hold_shows_its_age_and_what_is_left_of_it() {
    let (exporter, layer) = (Exporter::new(), layer("zuora"));
    let _installed = exporter.install();
    let handle = layer.handle();
    let shown = || {
        handle.publish_metrics();
        let scrape = exporter.scrape();
        (
            scrape.of(r#"maintenance_hold_seconds{partner="zuora"}"#),
            scrape.of(r#"maintenance_hold_remaining_seconds{partner="zuora"}"#),
        )
    };
    assert_eq!(shown(), (0.0, 0.0));
    handle.engage(Hold::new("on-call", "drill")).unwrap();
    advance(90 * SECOND).await;
    assert_eq!(shown(), (90.0, f64::INFINITY));
    let hold = Hold::new("on-call", "drill").for_at_most(60 * SECOND);
    handle.engage(hold).unwrap();
    advance(20 * SECOND).await;
    assert_eq!(shown(), (20.0, 40.0));
    // The hold expires while the layer is not looked at.
    advance(60 * SECOND).await;
    assert_eq!(shown(), (0.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn what_passes_and_what_is_refused_is_counted() {
    let exporter = Exporter::new();
    let _installed = exporter.install();
    let layer = MaintenanceLayer::builder("zuora")
        .exempt(Exemption::call(
            "ack",
            "the partner retries for days what we drop",
        ))
        .build()
        .unwrap()
        .named(|call: &&str| *call);
    let handle = layer.handle();
    let call = |name| {
        let inner = service_fn(async |_: &str| Ok::<_, io::Error>(()));
        layer.layer(inner).oneshot(name)
    };
    handle.engage(Hold::new("on-call", "drill")).unwrap();
    for name in ["ack", "charge", "charge"] {
        let _ = call(name).await;
    }
    handle.publish_metrics();
    let scrape = exporter.scrape();
    assert_eq!(
        scrape.of(r#"maintenance_exempt_total{partner="zuora"}"#),
        1.0
    );
    assert_eq!(
        scrape.of(r#"maintenance_refused_total{partner="zuora"}"#),
        2.0
    );
    assert_eq!(
        scrape.of(r#"maintenance_reads_total{partner="zuora"}"#),
        0.0
    );

    handle.release("on-call", "drill over").unwrap();
    handle.bypass("on-call", "drill").unwrap();
    handle.publish_metrics();
    let switch = |name| format!(r#"maintenance_switch{{partner="zuora",switch="{name}"}}"#);
    let scrape = exporter.scrape();
    assert_eq!(scrape.of(&switch("bypass")), 1.0);
    assert_eq!(scrape.of(&switch("dry_run")), 0.0);
}

#[tokio::test(start_paused = true)]
async fn probing_without_a_request_that_may_probe_shows() {
    let exporter = Exporter::new();
    let _installed = exporter.install();
    let layer = layer("zuora").may_probe(|_: &Does| false);
    let handle = layer.handle();
    let waiting = r#"maintenance_waiting_for_probe{partner="zuora"}"#;
    handle.trip("on-call", "drill").unwrap();
    advance(3 * SECOND).await;
    handle.publish_metrics();
    assert_eq!(
        (handle.mode(), exporter.scrape().of(waiting)),
        (Mode::Probing, 0.0)
    );
    advance(2 * SECOND).await;
    handle.publish_metrics();
    assert_eq!(exporter.scrape().of(waiting), 1.0);
}

#[test]
fn a_partner_with_any_name_is_one_label() {
    let exporter = Exporter::new();
    let _installed = exporter.install();
    layer("\"zu\\ora\"\n# x").handle().publish_metrics();
    let page = exporter.page();
    assert!(page.contains(r#"{partner="\"zu\\ora\"\n# x"}"#), "{page}");
}
