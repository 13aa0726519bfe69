//! R12 to R15: how the partner proves that it is back.

use std::{
    future::pending,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use tokio::{runtime::Handle, time::advance};
use tower::{Layer, ServiceExt};
use tower_maintenance::{
    Error, Event, EventKind, Events, MaintenanceHandle, MaintenanceLayer, Mode, Policy,
    ProbingReport, Rule,
};
use tracing::Level;

use crate::support::*;

fn probing(rig: &Rig) -> ProbingReport {
    rig.handle.status().probing.expect("it is probing")
}

// ---- R12 ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r12_only_so_many_probes_are_in_flight_at_once() {
    let rig = Rig::new(policy().with_probes(2));
    rig.trip_and_wait().await;
    let before = rig.partner.reached().len();
    let answer = rig.partner.next_waits();
    rig.partner.next_says([Say::Hang]);
    let first = rig.begin(read());
    let _second = rig.begin(read());
    assert!(is_refused(&rig.call(read()).await));
    assert_eq!(rig.partner.reached().len(), before + 2);

    answer.say(Say::Ok);
    first.ended().unwrap();
    assert_eq!(rig.call(read()).await, Ok(7), "a slot is free again");
}

#[tokio::test(start_paused = true)]
async fn r12_no_more_probes_begin_than_successes_are_missing() {
    let rig = Rig::new(policy().with_probes(10));
    rig.trip_and_wait().await;
    rig.calls(1, Say::Ok).await;
    let answers = [rig.partner.next_waits(), rig.partner.next_waits()];
    let last_two = [rig.begin(read()), rig.begin(read())];
    assert!(is_refused(&rig.call(read()).await), "1 + 2 in flight = 3");

    // Nothing is in flight when the last success lands.
    for (answer, probe) in answers.into_iter().zip(last_two) {
        assert_eq!(rig.mode(), Mode::Probing);
        answer.say(Say::Ok);
        probe.ended().unwrap();
    }
    assert_eq!(rig.mode(), Mode::Serving);
    assert_eq!(rig.handle.status().calls.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn r12_so_many_successes_are_needed() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    for expected in [Mode::Probing, Mode::Probing, Mode::Serving] {
        rig.calls(1, Say::Ok).await;
        assert_eq!(rig.mode(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn r12_any_failure_returns_to_maintenance_and_successes_begin_anew() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.calls(2, Say::Ok).await;
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
    rig.wait_out().await;
    assert_eq!(probing(&rig).successes, 0, "in a row");
    rig.calls(2, Say::Ok).await;
    assert_eq!(rig.mode(), Mode::Probing);
}

/// A layer around a partner that never answers, and how many calls got through to it.
fn hanging(policy: Policy) -> (MaintenanceHandle, Hanging, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let layer = MaintenanceLayer::builder("zuora").policy(policy);
    let layer = layer.build().unwrap();
    let service = layer.layer(Counting(reached.clone()));
    (layer.handle(), service, reached)
}

type Hanging = tower_maintenance::Maintenance<Counting, tower_maintenance::Calls>;

#[derive(Debug, Clone)]
struct Counting(Arc<AtomicUsize>);

impl tower::Service<()> for Counting {
    type Response = ();
    type Error = Failed;
    type Future = std::future::Pending<Result<(), Failed>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Failed>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        self.0.fetch_add(1, Ordering::SeqCst);
        pending()
    }
}

#[tokio::test(start_paused = true)]
async fn r12_of_ten_thousand_calls_at_the_instant_the_wait_ends_one_is_a_probe() {
    let (handle, service, reached) = hanging(policy());
    handle.trip("on-call", "drill").unwrap();
    let calls: Vec<_> = (0..10_000)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                tokio::time::sleep(secs(30)).await;
                let mut call = Box::pin(service.oneshot(()));
                let refused = poll_once(call.as_mut()).is_some_and(|called| is_refused(&called));
                (refused, call)
            })
        })
        .collect();
    let mut ended = Vec::new();
    for call in calls {
        ended.push(call.await.unwrap());
    }
    let refused = ended.iter().filter(|(refused, _)| *refused).count();
    assert_eq!((refused, reached.load(Ordering::SeqCst)), (9_999, 1));
}

/// Makes `calls` calls at once. Returns how many were refused, and those that were admitted.
fn calls_at_once(service: &Hanging, calls: usize) -> (usize, Vec<impl Future + use<>>) {
    let mut admitted = Vec::new();
    let mut refused = 0;
    for _ in 0..calls {
        let mut call = Box::pin(service.clone().oneshot(()));
        match poll_once(call.as_mut()) {
            Some(called) => refused += usize::from(is_refused(&called)),
            None => admitted.push(call),
        }
    }
    (refused, admitted)
}

/// Makes `calls` calls from each of 8 threads, which all begin at once, and returns how many were
/// refused.
fn storm(service: &Hanging, calls: usize, enter: &(dyn Fn(&mut dyn FnMut()) + Sync)) -> usize {
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        let thread = || {
            let mut refused = 0;
            enter(&mut || {
                start.wait();
                let (refusals, admitted) = calls_at_once(service, calls);
                refused += refusals;
                // No thread gives up a slot before all have asked.
                start.wait();
                drop(admitted);
            });
            refused
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(thread)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    })
}

#[tokio::test(start_paused = true)]
async fn r12_from_eight_threads_at_that_instant_one_is_a_probe() {
    let (handle, service, reached) = hanging(policy());
    handle.trip("on-call", "drill").unwrap();
    // The first of the calls finds that the wait is over.
    advance(secs(30)).await;
    let clock = Handle::current();
    let refused = storm(&service, 1250, &|calls| {
        let _paused_time_governs_this_thread_too = clock.enter();
        calls();
    });
    assert_eq!((refused, reached.load(Ordering::SeqCst)), (9_999, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r12_on_many_threads_in_real_time_one_is_a_probe() {
    let policy = policy().with_wait(millis(1)).with_lease(secs(3600));
    let (handle, service, reached) = hanging(policy);
    let mut events = handle.events();
    handle.trip("on-call", "drill").unwrap();
    while !matches!(
        events.recv().await.unwrap().kind,
        EventKind::ModeChanged {
            to: Mode::Probing,
            ..
        }
    ) {}
    let refused = tokio::task::spawn_blocking(move || storm(&service, 1250, &|calls| calls()))
        .await
        .unwrap();
    assert_eq!((refused, reached.load(Ordering::SeqCst)), (9_999, 1));
}

// ---- R13 ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r13_only_a_request_that_may_probe_probes() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    let before = rig.partner.reached().len();
    for _ in 0..10 {
        assert!(
            is_refused(&rig.call(charge()).await),
            "no charge is a probe"
        );
    }
    assert_eq!(rig.partner.reached().len(), before);
    assert_eq!(rig.call(read()).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn r13_for_a_plain_result_every_call_may_probe() {
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy())
        .build()
        .unwrap();
    let service = layer.layer(tower::service_fn(async |(): ()| Ok::<_, Failed>(())));
    layer.handle().trip("on-call", "drill").unwrap();
    advance(secs(30)).await;
    for _ in 0..3 {
        service.clone().oneshot(()).await.unwrap();
    }
    assert_eq!(layer.handle().mode(), Mode::Serving);
}

#[tokio::test(start_paused = true)]
async fn r13_the_gate_before_routes_lets_through_what_may_probe_and_takes_no_slot() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    assert!(matches!(rig.visit(charge()).await, Page::Maintenance(_)));

    // Two visits at once: both pass the gate before routes, and one takes the slot around the
    // calls.
    let answer = rig.partner.next_waits();
    let mut first = Box::pin(rig.visit(read()));
    assert_eq!(poll_once(first.as_mut()), None);
    assert_eq!(probing(&rig).in_flight, 1);
    assert_eq!(rig.visit(read()).await, Page::NotNow);
    answer.say(Say::Ok);
    assert_eq!(first.await, Page::Paid(7));
    assert_eq!(probing(&rig).successes, 1);
}

#[tokio::test(start_paused = true)]
async fn r13_the_gate_before_routes_measures_nothing() {
    let rig = Rig::new(policy());
    // The protocol of these tests settles every request before routes as a failure.
    for _ in 0..10 {
        assert_eq!(rig.visit(read()).await, Page::Paid(7));
    }
    assert_eq!((rig.mode(), rig.failed()), (Mode::Serving, 0));
    assert_eq!(rig.handle.status().calls.admitted, 10, "around the calls");
}

/// A ping that calls the partner itself, and counts.
fn ping(rig: &Rig, handle: &MaintenanceHandle) -> (tokio::task::JoinHandle<()>, Arc<AtomicU32>) {
    let pings = Arc::new(AtomicU32::new(0));
    let (counter, partner) = (pings.clone(), rig.partner.clone());
    let check = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        partner.clone().oneshot(read())
    };
    (tokio::spawn(handle.ping(check)), pings)
}

#[tokio::test(start_paused = true)]
async fn r13_a_post_only_client_with_both_placements_recovers_with_a_ping() {
    let rig = Rig::new(policy());
    let (_ping, pings) = ping(&rig, &rig.handle);
    tokio::task::yield_now().await;
    rig.partner.says(Say::Down);
    for _ in 0..5 {
        assert_eq!(rig.visit(charge()).await, Page::Sorry);
    }
    assert!(matches!(rig.visit(charge()).await, Page::Maintenance(_)));
    assert_eq!(pings.load(Ordering::SeqCst), 0, "only in Probing");

    rig.partner.says(Say::Ok);
    rig.handle.wait_until_serving().await;
    assert_eq!(pings.load(Ordering::SeqCst), 3);
    // The wait of 30 s, and three pings a second apart.
    assert_eq!(rig.handle.status().at, wall(secs(32)));
    assert_eq!(rig.visit(charge()).await, Page::Paid(4200));
    let log = rig.handle.episodes();
    assert_eq!(log[0].probes, 3);
}

#[tokio::test(start_paused = true)]
async fn r13_without_a_ping_status_waits_for_a_probe_and_one_warning_names_both_cures() {
    let rig = Rig::new(policy());
    let log = Log::new();
    let _listening = log.listen();
    let mut events = rig.handle.events();
    rig.partner.says(Say::Down);
    for _ in 0..5 {
        assert_eq!(rig.visit(charge()).await, Page::Sorry);
    }
    rig.partner.says(Say::Ok);
    rig.wait_out().await;
    for second in 0..100 {
        assert_eq!(probing(&rig).waiting_for_probe, second >= 30);
        assert!(matches!(rig.visit(charge()).await, Page::Maintenance(_)));
        assert!(is_refused(&rig.call(charge()).await));
        advance(secs(1)).await;
    }
    assert_eq!(log.lines(Level::WARN, &["ping", "may_probe"]).len(), 1);
    let warnings: Vec<_> = drain(&mut events)
        .into_iter()
        .filter(|event| event.kind == EventKind::WaitingForProbe)
        .collect();
    assert_eq!(warnings.len(), 1);
    assert_eq!(since_start(&warnings[0]), secs(60));
    let sentence = rig.handle.status().to_string();
    assert!(
        sentence.contains("ping") && sentence.contains("may_probe"),
        "{sentence}"
    );
}

#[tokio::test(start_paused = true)]
async fn r13_an_eligible_request_in_time_means_no_warning() {
    let rig = Rig::new(policy().with_successes_needed(10));
    let log = Log::new();
    let _listening = log.listen();
    rig.trip_and_wait().await;
    for _ in 0..9 {
        advance(secs(29)).await;
        rig.calls(1, Say::Ok).await;
        assert!(!probing(&rig).waiting_for_probe);
    }
    assert_eq!(log.lines(Level::WARN, &["may_probe"]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn r13_a_ping_probes_in_place_of_customers() {
    let rig = Rig::new(policy());
    let (task, _) = ping(&rig, &rig.handle);
    tokio::task::yield_now().await;
    assert_eq!(rig.handle.status().pings, 1);
    rig.trip_and_wait().await;
    // A read may probe, but does not while a ping does.
    assert!(is_refused(&rig.call(read()).await));
    assert!(matches!(rig.visit(read()).await, Page::Maintenance(_)));

    task.abort();
    let _aborted = task.await;
    assert_eq!(rig.handle.status().pings, 0);
    assert_eq!(rig.call(read()).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn r13_a_failing_ping_returns_to_maintenance() {
    let rig = Rig::new(policy());
    let (_ping, pings) = ping(&rig, &rig.handle);
    let mut events = rig.handle.events();
    tokio::task::yield_now().await;
    rig.trip().await;
    rig.partner.says(Say::Down);
    tokio::time::sleep(secs(91)).await;
    assert_eq!(pings.load(Ordering::SeqCst), 2, "at 30 s and at 90 s");
    assert_eq!(waits(&drain(&mut events)), [30, 60, 120].map(secs));
}

#[tokio::test(start_paused = true)]
async fn r13_a_ping_ends_when_nobody_is_left() {
    let handle = MaintenanceLayer::new("zuora").handle();
    let ping = tokio::spawn(handle.ping(async || Ok::<_, Failed>(())));
    tokio::task::yield_now().await;
    drop(handle);
    ping.await.unwrap();
}

// ---- R14 ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r14_a_hung_probe_counts_as_failed_when_its_lease_ends() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    let answer = rig.partner.next_waits();
    let probe = rig.begin(read());
    advance(secs(30) - NANO).await;
    assert_eq!(rig.mode(), Mode::Probing);
    advance(NANO).await;
    let status = rig.handle.status();
    assert_eq!(status.mode, Mode::Maintenance);
    assert_eq!(status.since, wall(secs(60)));
    assert_eq!(status.retry_after, Some(secs(60)), "the next wait");
    assert!(matches!(
        status.evidence.unwrap().rule,
        Rule::ProbeHung { .. }
    ));

    answer.say(Say::Ok);
    assert_eq!(probe.ended(), Ok(7), "late, but the caller gets it");
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r14_a_probe_that_waits_for_readiness_is_bounded_by_its_lease_too() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    let before = rig.partner.reached().len();
    rig.partner.becomes(Ready::NotYet);
    let probe = rig.begin(read());
    advance(secs(30)).await;
    // The lease has ended, and the partner is ready a moment too late.
    rig.partner.becomes(Ready::Yes);
    assert!(is_refused(&probe.ended()));
    assert_eq!(rig.partner.reached().len(), before);
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r14_a_hung_ping_is_bounded_by_the_lease() {
    let rig = Rig::new(policy());
    let mut events = rig.handle.events();
    tokio::spawn(rig.handle.ping(pending::<Result<(), Failed>>));
    tokio::task::yield_now().await;
    rig.trip().await;
    tokio::time::sleep(secs(61)).await;
    let seen = modes(&drain(&mut events));
    assert_eq!(
        seen,
        [
            (secs(0), Mode::Maintenance),
            (secs(30), Mode::Probing),
            (secs(60), Mode::Maintenance),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn r14_a_neutral_probe_gives_its_slot_back_and_after_the_second_in_a_row_it_rests() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.calls(1, Say::Ok).await;
    rig.calls(1, Say::OurFault).await;
    let report = probing(&rig);
    assert_eq!((report.free, report.resting, report.successes), (1, 0, 1));
    for _ in 0..4 {
        rig.calls(1, Say::OurFault).await;
        let report = probing(&rig);
        assert_eq!((report.free, report.resting), (0, 1));
        assert!(is_refused(&rig.call(read()).await));
        advance(secs(1) - NANO).await;
        assert!(is_refused(&rig.call(read()).await));
        advance(NANO).await;
        assert_eq!(probing(&rig).free, 1);
    }
    rig.calls(2, Say::Ok).await;
    assert_eq!(rig.mode(), Mode::Serving, "it breaks no row");
}

#[tokio::test(start_paused = true)]
async fn r14_the_slot_rests_as_long_as_pings_are_apart() {
    let rig = Rig::new(policy().with_ping_every(secs(7)));
    rig.trip_and_wait().await;
    rig.calls(2, Say::OurFault).await;
    advance(secs(7) - NANO).await;
    assert!(is_refused(&rig.call(read()).await));
    advance(NANO).await;
    rig.calls(1, Say::Ok).await;
}

#[tokio::test(start_paused = true)]
async fn r14_only_answers_of_the_partner_make_a_slot_rest() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    for _ in 0..3 {
        // A customer that hangs up, an error of ours, and a judge that panics.
        rig.partner.next_says([Say::Hang]);
        drop(rig.begin(read()));
        rig.calls(1, Say::NeverSent).await;
        rig.partner.next_says([Say::Unjudgeable]);
        let mut probe = Box::pin(rig.call(read()));
        assert!(panics(|| poll_once(probe.as_mut())));
        assert_eq!(probing(&rig).free, 1);
    }
    rig.prove().await;
}

#[tokio::test(start_paused = true)]
async fn r14_a_success_between_answers_that_prove_nothing_spares_the_slot_its_rest() {
    let rig = Rig::new(policy().with_successes_needed(9));
    rig.trip_and_wait().await;
    for _ in 0..8 {
        rig.calls(1, Say::OurFault).await;
        rig.calls(1, Say::Ok).await;
        assert_eq!(probing(&rig).resting, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn r14_at_the_leases_end_a_probe_whose_caller_waits_failed() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.partner.next_says([Say::Hang]);
    let probe = rig.begin(read());
    advance(secs(30)).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
    let evidence = rig.handle.status().evidence.unwrap();
    assert_eq!(evidence.to_string(), "a probe hung for 30 s");
    drop(probe);
}

#[tokio::test(start_paused = true)]
async fn r14_at_the_leases_end_a_probe_whose_reader_does_not_ask_gives_its_slot_back() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    let body = rig.stream().await;
    advance(secs(30) - NANO).await;
    assert_eq!(probing(&rig).free, 0);
    advance(NANO).await;
    let report = probing(&rig);
    assert_eq!((report.free, report.resting, report.in_flight), (1, 0, 0));
    // Its end comes too late to prove anything.
    body.end();
    assert_eq!(probing(&rig).successes, 0);
    rig.prove().await;
}

#[tokio::test(start_paused = true)]
async fn r14_a_frame_that_comes_after_the_leases_end_does_not_undo_the_hang() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    let mut body = rig.stream().await;
    advance(secs(29)).await;
    body.asks();
    // No other call looks at the layer meanwhile.
    advance(secs(2)).await;
    body.frame();
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r14_a_frame_in_time_ends_the_wait_of_a_probe() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    let mut body = rig.stream().await;
    body.asks();
    advance(secs(29)).await;
    body.frame();
    advance(secs(1)).await;
    assert_eq!((rig.mode(), probing(&rig).free), (Mode::Probing, 1));
}

#[tokio::test(start_paused = true)]
async fn r14_a_probe_that_the_partner_limits_goes_back_for_the_present_wait() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    for _ in 0..4 {
        rig.calls(1, Say::Busy(429, secs(0))).await;
        assert_eq!(rig.mode(), Mode::Maintenance);
        let status = rig.handle.status();
        assert_eq!(status.retry_after, Some(secs(30)), "it does not grow");
        let evidence = status.evidence.unwrap().to_string();
        assert_eq!(
            evidence,
            "the partner limits calls, again after 30 s, last: 429"
        );
        rig.wait_out().await;
    }
    rig.calls(1, Say::Down).await;
    let left = rig.handle.status().retry_after;
    assert_eq!(left, Some(secs(60)), "the second trip of the rules");
}

/// The events of probing without evidence since the last look.
fn without_evidence(events: &mut Events) -> Vec<(u64, Option<u16>)> {
    let told = |event: Event| match event.kind {
        EventKind::ProbingWithoutEvidence {
            ended, last_code, ..
        } => Some((ended, last_code)),
        _ => None,
    };
    drain(events).into_iter().filter_map(told).collect()
}

#[tokio::test(start_paused = true)]
async fn r14_a_partner_that_limits_each_probe_is_told_as_one_without_evidence() {
    let rig = Rig::new(policy());
    let mut events = rig.handle.events();
    rig.trip_and_wait().await;
    rig.calls(1, Say::Busy(429, secs(0))).await;
    assert_eq!(without_evidence(&mut events), []);
    for _ in 0..5 {
        rig.wait_out().await;
        assert_eq!(rig.mode(), Mode::Probing);
        assert_eq!(without_evidence(&mut events), [(1, Some(429))]);
        assert!(probing(&rig).without_evidence);
        rig.calls(1, Say::Busy(429, secs(0))).await;
        assert_eq!(without_evidence(&mut events), []);
    }
    // A failure is evidence: the next wait begins anew.
    rig.wait_out().await;
    rig.calls(1, Say::Down).await;
    without_evidence(&mut events);
    advance(secs(60)).await;
    assert!(!probing(&rig).without_evidence);
    assert_eq!(without_evidence(&mut events), []);
}

#[tokio::test(start_paused = true)]
async fn r14_a_whole_wait_without_evidence_is_told_once_a_wait_with_the_last_code() {
    let rig = Rig::new(policy());
    let mut events = rig.handle.events();
    rig.trip_and_wait().await;
    for wait in 0..3 {
        for _ in 0..29 {
            rig.calls(1, Say::Busy(401, secs(0))).await;
            advance(secs(1)).await;
        }
        assert_eq!(without_evidence(&mut events), []);
        assert_eq!(probing(&rig).without_evidence, wait > 0);
        advance(secs(1)).await;
        assert_eq!(rig.mode(), Mode::Probing);
        assert_eq!(without_evidence(&mut events), [(29, Some(401))]);
        let status = rig.handle.status();
        assert!(status.probing.unwrap().without_evidence);
        assert_eq!(
            status.to_string(),
            "zuora is probing: 0 of 3 probes succeeded, 0 in flight; \
             a whole wait of probes proved nothing, last: 401"
        );
    }
    rig.calls(1, Say::Ok).await;
    assert!(!probing(&rig).without_evidence);
}

#[tokio::test(start_paused = true)]
async fn r14_a_probe_dropped_early_gives_its_slot_back() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.partner.next_says([Say::Hang]);
    let probe = rig.begin(read());
    advance(secs(5) - NANO).await;
    drop(probe);
    assert_eq!((rig.mode(), probing(&rig).free), (Mode::Probing, 1));
}

#[tokio::test(start_paused = true)]
async fn r14_a_probe_dropped_at_the_hang_limit_failed() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.partner.next_says([Say::Hang]);
    let probe = rig.begin(read());
    advance(secs(5)).await;
    drop(probe);
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r14_a_probe_told_to_retry_later_waits_that_long_without_growing_the_wait() {
    for code in [429, 503] {
        for span in [secs(5), secs(70)] {
            let rig = Rig::new(policy());
            rig.trip_and_wait().await;
            rig.calls(1, Say::Busy(code, span)).await;
            assert_eq!(rig.mode(), Mode::Maintenance);
            assert_eq!(rig.wait_out().await, span, "{code}");
            rig.calls(1, Say::Down).await;
            assert_eq!(rig.left(), secs(60), "the second wait, not the third");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r14_any_other_code_with_retry_after_is_an_ordinary_failure() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.calls(1, Say::Busy(500, secs(5))).await;
    assert_eq!(rig.left(), secs(60));
}

// ---- R15 ----------------------------------------------------------------------------------------

fn ramped() -> Policy {
    policy().with_ramp(secs(100))
}

/// A rig whose ramp begins now, 30 s after its start.
async fn on_the_ramp(policy: Policy) -> Rig {
    let rig = Rig::new(policy);
    rig.trip_and_wait().await;
    rig.calls(3, Say::Ok).await;
    assert_eq!(rig.mode(), Mode::Probing);
    assert!(probing(&rig).ramp_share.is_some());
    rig
}

/// The numbers of those of the next calls that are let in; the first has the number `from`.
async fn let_in(rig: &Rig, request: Request, from: u64, to: u64) -> Vec<u64> {
    let mut let_in = Vec::new();
    for k in from..=to {
        if !is_refused(&rig.call(request).await) {
            let_in.push(k);
        }
    }
    let_in
}

/// What R15 says of the same calls, where the share is `part / whole`.
fn should_be_let_in(part: u64, whole: u64, from: u64, to: u64) -> Vec<u64> {
    (from..=to)
        .filter(|k| k * part / whole > (k - 1) * part / whole)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn r15_the_share_grows_linearly_and_every_kth_call_is_let_in() {
    let rig = on_the_ramp(ramped()).await;
    assert_eq!(
        let_in(&rig, read(), 1, 100).await,
        should_be_let_in(1, 10, 1, 100),
        "10 %: every tenth"
    );
    advance(secs(50)).await;
    assert_eq!(
        let_in(&rig, read(), 101, 300).await,
        should_be_let_in(11, 20, 101, 300),
        "55 %, and the count goes on"
    );
    advance(secs(25)).await;
    assert_eq!(
        let_in(&rig, read(), 301, 400).await,
        should_be_let_in(31, 40, 301, 400),
        "77.5 %"
    );
}

#[tokio::test(start_paused = true)]
async fn r15_mode_and_era_stay_while_it_lasts() {
    let rig = Rig::new(ramped());
    rig.trip_and_wait().await;
    let era = rig.handle.status().era;
    rig.calls(3, Say::Ok).await;
    let status = rig.handle.status();
    assert_eq!((status.mode, status.era), (Mode::Probing, era));
    advance(secs(100) - NANO).await;
    let status = rig.handle.status();
    assert_eq!((status.mode, status.era), (Mode::Probing, era));
}

#[tokio::test(start_paused = true)]
async fn r15_every_request_takes_part_whether_it_may_probe_or_not() {
    let rig = on_the_ramp(ramped()).await;
    let charged = let_in(&rig, charge(), 1, 100).await;
    assert_eq!(charged, should_be_let_in(1, 10, 1, 100));
}

#[tokio::test(start_paused = true)]
async fn r15_the_gate_before_routes_passes_all_and_does_not_draw() {
    let rig = on_the_ramp(ramped()).await;
    let mut paid = 0;
    for _ in 0..100 {
        match rig.visit(charge()).await {
            Page::Paid(_) => paid += 1,
            page => assert_eq!(page, Page::NotNow, "refused around the calls, not before"),
        }
    }
    assert_eq!(paid, 10);
}

#[tokio::test(start_paused = true)]
async fn r15_probes_in_flight_and_leases_rest() {
    let rig = on_the_ramp(ramped().with_ramp_start(tower_maintenance::Rate::HALF)).await;
    rig.partner.says(Say::Hang);
    let mut in_flight = Vec::new();
    for _ in 0..10 {
        let mut call = Box::pin(rig.call(read()));
        if poll_once(call.as_mut()).is_none() {
            in_flight.push(call);
        }
    }
    assert_eq!(in_flight.len(), 5, "more than one probe");
    advance(secs(31)).await;
    assert_eq!(rig.mode(), Mode::Probing, "longer than a lease");
    rig.partner.says(Say::Down);
    let mut failed = 0;
    while failed == 0 {
        failed += usize::from(rig.call(read()).await == Err(Error::Inner(Failed::Down)));
    }
    assert_eq!(
        rig.mode(),
        Mode::Probing,
        "one failure is not a failed probe"
    );
}

#[tokio::test(start_paused = true)]
async fn r15_its_outcomes_fill_a_window_of_their_own() {
    let rig = on_the_ramp(ramped()).await;
    assert_eq!(rig.total(), 0);
    rig.partner.says(Say::Down);
    for _ in 0..40 {
        let _ = rig.call(read()).await;
    }
    assert_eq!((rig.total(), rig.failed()), (4, 4));
    assert_eq!(rig.mode(), Mode::Probing);
}

#[tokio::test(start_paused = true)]
async fn r15_a_rule_that_trips_returns_to_maintenance_with_the_next_wait() {
    let rig = on_the_ramp(ramped()).await;
    let mut busts = rig.handle.cache_bust();
    rig.partner.says(Say::Down);
    for _ in 0..50 {
        let _ = rig.call(read()).await;
    }
    assert_eq!(rig.mode(), Mode::Maintenance, "five failures in a row");
    assert_eq!(rig.left(), secs(60));
    assert_eq!(busts.try_recv(), None);
}

#[tokio::test(start_paused = true)]
async fn r15_at_its_end_serving_with_one_signal_and_an_empty_window() {
    let rig = on_the_ramp(ramped()).await;
    let mut busts = rig.handle.cache_bust();
    let_in(&rig, read(), 1, 50).await;
    assert_eq!(busts.try_recv(), None, "none before its end");
    advance(secs(100)).await;
    let status = rig.handle.status();
    assert_eq!(status.mode, Mode::Serving);
    assert_eq!(status.since, wall(secs(130)));
    assert_eq!(status.window.total, 0);
    assert_eq!(busts.try_recv().unwrap().at, wall(secs(130)));
    assert_eq!(busts.try_recv(), None);
    assert_eq!(rig.call(charge()).await, Ok(4200));
}

#[tokio::test(start_paused = true)]
async fn r15_it_is_off_by_default() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.prove().await;
}

#[tokio::test(start_paused = true)]
async fn r15_a_hold_ends_it() {
    let rig = on_the_ramp(ramped()).await;
    rig.handle.engage(drill()).unwrap();
    for _ in 0..20 {
        assert!(is_refused(&rig.call(read()).await));
    }
    rig.handle.release("on-call", "drill").unwrap();
    let report = probing(&rig);
    assert_eq!(
        (report.successes, report.ramp_share),
        (0, None),
        "from the start"
    );
}
