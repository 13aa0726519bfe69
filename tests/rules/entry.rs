//! R9 to R11: when maintenance begins, how long it waits, and that time alone ends it.

use std::time::Duration;

use tokio::time::advance;
use tower::Service;
use tower_maintenance::{Error, EventKind, Mode, Policy, Rate, Rule, Window};
use tracing::Level;

use crate::support::*;

/// Only the failure rate judges.
fn rate_alone(percent: f64, min_calls: u32) -> Policy {
    policy()
        .with_failure_rate(Rate::percent(percent).unwrap())
        .without_consecutive_failures()
        .with_min_calls(min_calls)
}

/// Only runs of failures judge.
fn run_alone(failures: u32) -> Policy {
    policy()
        .without_failure_rate()
        .with_consecutive_failures(failures)
}

/// Only slow calls judge.
fn slow_alone(longer_than: Duration, percent: f64, min_calls: u32) -> Policy {
    policy()
        .without_failure_rate()
        .without_consecutive_failures()
        .with_slow_calls(longer_than, Rate::percent(percent).unwrap())
        .with_min_calls(min_calls)
}

fn rule(rig: &Rig) -> Option<Rule> {
    rig.handle.status().evidence.map(|evidence| evidence.rule)
}

// ---- R9 -----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r09_the_rate_trips_when_it_reaches_the_threshold() {
    let rig = Rig::new(rate_alone(50.0, 10));
    rig.calls(10, Say::Ok).await;
    rig.calls(9, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Serving, "9 of 19");
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Maintenance, "10 of 20");
    assert!(matches!(rule(&rig), Some(Rule::FailureRate { .. })));
}

#[tokio::test(start_paused = true)]
async fn r09_a_rate_is_read_from_no_fewer_than_min_calls() {
    let rig = Rig::new(rate_alone(50.0, 10));
    rig.calls(9, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Serving);
    assert_eq!(rig.handle.status().window.failure_rate, None);
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r09_a_good_answer_never_trips() {
    let rig = Rig::new(rate_alone(50.0, 10));
    rig.calls(9, Say::Down).await;
    rig.calls(1, Say::Ok).await;
    assert_eq!(rig.mode(), Mode::Serving, "9 of 10, but the last was good");
    rig.calls(3, Say::OurFault).await;
    assert_eq!(rig.mode(), Mode::Serving, "neutral ones are not bad either");
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r09_neutral_calls_give_no_evidence_to_the_rate() {
    let rig = Rig::new(rate_alone(50.0, 10));
    rig.calls(100, Say::OurFault).await;
    rig.calls(9, Say::Down).await;
    assert_eq!((rig.mode(), rig.total()), (Mode::Serving, 9));
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r09_a_run_of_failures_trips_whatever_the_rate() {
    let rig = Rig::new(policy());
    rig.calls(100, Say::Ok).await;
    rig.calls(4, Say::Down).await;
    rig.calls(1, Say::Ok).await;
    rig.calls(4, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Serving, "a success breaks the run");
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
    assert!(matches!(
        rule(&rig),
        Some(Rule::ConsecutiveFailures { run: 5, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn r09_neutral_neither_extends_nor_breaks_a_run() {
    for window in [Window::time(secs(60)), Window::calls(10)] {
        let rig = Rig::new(policy().with_window(window));
        rig.calls(2, Say::Down).await;
        rig.calls(10, Say::OurFault).await;
        rig.calls(2, Say::Down).await;
        rig.calls(10, Say::OurFault).await;
        assert_eq!(rig.mode(), Mode::Serving, "not extended");
        rig.calls(1, Say::Down).await;
        assert_eq!(rig.mode(), Mode::Maintenance, "not broken");
    }
}

#[tokio::test(start_paused = true)]
async fn r09_a_run_counts_within_the_window() {
    let rig = Rig::new(policy());
    rig.calls(4, Say::Down).await;
    advance(secs(60)).await;
    rig.calls(4, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Serving);
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r09_a_run_goes_on_over_buckets() {
    let rig = Rig::new(run_alone(5));
    for _ in 0..5 {
        assert_eq!(rig.mode(), Mode::Serving);
        rig.calls(1, Say::Down).await;
        advance(secs(7)).await;
    }
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r09_slow_calls_trip_where_asked_for_and_successes_can_be_slow() {
    let rig = Rig::new(slow_alone(secs(2), 50.0, 4));
    rig.calls(2, Say::Ok).await;
    for expected in [Mode::Serving, Mode::Maintenance] {
        let answer = rig.partner.next_waits();
        let call = rig.begin(read());
        advance(secs(2) + NANO).await;
        answer.say(Say::Ok);
        call.ended().unwrap();
        assert_eq!(rig.mode(), expected);
    }
    assert!(matches!(rule(&rig), Some(Rule::SlowCalls { slow: 2, .. })));
}

#[tokio::test(start_paused = true)]
async fn r09_a_fast_success_does_not_trip_the_slow_call_rule() {
    let rig = Rig::new(slow_alone(secs(2), 50.0, 3));
    for _ in 0..2 {
        let answer = rig.partner.next_waits();
        let call = rig.begin(read());
        advance(secs(3)).await;
        answer.say(Say::Ok);
        call.ended().unwrap();
    }
    rig.calls(1, Say::Ok).await;
    assert_eq!(
        rig.mode(),
        Mode::Serving,
        "2 of 3 slow, but the last was good"
    );
}

#[tokio::test(start_paused = true)]
async fn r09_each_rule_can_be_off() {
    let rate = Rig::new(rate_alone(100.0, 100));
    rate.calls(99, Say::Down).await;
    assert_eq!(rate.mode(), Mode::Serving, "no rule for runs");

    let run = Rig::new(run_alone(5));
    for _ in 0..30 {
        run.calls(4, Say::Down).await;
        run.calls(1, Say::Ok).await;
    }
    assert_eq!(run.mode(), Mode::Serving, "no rule for rates");

    let slow = Rig::new(slow_alone(secs(2), 50.0, 4));
    slow.calls(100, Say::Down).await;
    assert_eq!(slow.mode(), Mode::Serving, "neither");
}

#[tokio::test(start_paused = true)]
async fn r09_one_rule_must_be_on() {
    let all_off = policy()
        .without_failure_rate()
        .without_consecutive_failures()
        .without_given_up();
    let error = builder(all_off).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "policy: rules is all off: allowed is at least one of failure_rate, \
         consecutive_failures, slow_calls, given_up on"
    );
}

#[tokio::test(start_paused = true)]
async fn r09_a_window_of_calls_slides_by_the_call() {
    let rig = Rig::new(rate_alone(60.0, 5).with_window(Window::calls(10)));
    rig.calls(3, Say::Ok).await;
    rig.calls(4, Say::Down).await;
    rig.calls(3, Say::Ok).await;
    assert_eq!((rig.total(), rig.failed()), (10, 4));
    // Each call pushes out the oldest one, and no other.
    for failed in [4, 4, 4, 3, 2, 1, 0] {
        rig.calls(1, Say::Ok).await;
        assert_eq!((rig.total(), rig.failed()), (10, failed));
    }
}

#[tokio::test(start_paused = true)]
async fn r09_a_bucket_leaves_when_its_start_is_a_whole_window_old() {
    // 60 s in 10 buckets: [0, 6), [6, 12), ...
    let rig = Rig::new(policy());
    advance(secs(5)).await;
    rig.calls(1, Say::Down).await;
    advance(secs(2)).await;
    rig.calls(2, Say::Ok).await;
    advance(secs(53) - NANO).await;
    assert_eq!((rig.total(), rig.failed()), (3, 1));
    advance(NANO).await;
    assert_eq!((rig.total(), rig.failed()), (2, 0), "at 60 s");
    advance(secs(6) - NANO).await;
    assert_eq!(rig.total(), 2);
    advance(NANO).await;
    assert_eq!(rig.total(), 0, "at 66 s");
}

#[tokio::test(start_paused = true)]
async fn r09_an_outcome_belongs_to_the_instant_it_lands() {
    let rig = Rig::new(policy());
    let answer = rig.partner.next_waits();
    let call = rig.begin(read());
    advance(secs(30)).await;
    answer.say(Say::Down);
    call.ended().unwrap_err();
    advance(secs(59)).await;
    assert_eq!(rig.failed(), 1, "89 s after it began");
    advance(secs(1)).await;
    assert_eq!(rig.failed(), 0);
}

/// 8 of 12 failures, and never 5 in a row.
async fn scattered(rig: &Rig) {
    for call in 0..12 {
        let say = if call % 3 == 0 { Say::Ok } else { Say::Down };
        rig.calls(1, say).await;
    }
}

/// Successes alone move no state, however long the layer was not looked at.
#[tokio::test(start_paused = true)]
async fn r09_successes_after_a_quiet_stretch_are_in_the_window() {
    for quiet in [0, 50, 100, 200, 100_000, 10_000_000] {
        let rig = Rig::new(Policy::default());
        advance(secs(quiet)).await;
        rig.calls(100, Say::Ok).await;
        scattered(&rig).await;
        assert_eq!(rig.total(), 112, "{quiet} s");
        assert_eq!(rig.mode(), Mode::Serving, "{quiet} s");
    }
}

/// One layer in two runtimes: their paused clocks differ, and the layer keeps to the later one.
#[test]
fn r09_by_a_clock_that_stands_earlier_successes_count_as_failures_do() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let built = builder.enable_time().start_paused(true).build();
        built.unwrap()
    };
    let rig = runtime().block_on(async {
        let rig = Rig::new(Policy::default());
        advance(secs(3600)).await;
        rig.calls(1, Say::Down).await;
        rig.calls(1, Say::Ok).await;
        rig
    });
    runtime().block_on(async {
        rig.calls(100, Say::Ok).await;
        scattered(&rig).await;
        assert_eq!((rig.total(), rig.mode()), (114, Mode::Serving));
    });
}

#[tokio::test(start_paused = true)]
async fn r09_a_window_starts_empty_when_serving_returns() {
    let rig = Rig::new(policy());
    rig.calls(4, Say::Down).await;
    rig.handle.engage(drill()).unwrap();
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(rig.total(), 0);
    rig.calls(4, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Serving);
}

// ---- R10 ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r10_the_wait_counts_from_the_trip_and_ends_when_it_has_elapsed() {
    let rig = Rig::new(policy());
    advance(secs(11)).await;
    rig.trip().await;
    advance(secs(30) - NANO).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
    assert!(is_refused(&rig.call(read()).await));
    advance(NANO).await;
    assert_eq!(rig.call(read()).await, Ok(7), "a probe");
    assert_eq!(rig.mode(), Mode::Probing);
}

#[tokio::test(start_paused = true)]
async fn r10_later_failures_and_refusals_do_not_move_it() {
    let rig = Rig::new(policy());
    let answers: Vec<_> = (0..20).map(|_| rig.partner.next_waits()).collect();
    let calls: Vec<_> = (0..20).map(|_| rig.begin(read())).collect();
    for (index, (answer, call)) in answers.into_iter().zip(calls).enumerate() {
        if index >= 5 {
            advance(secs(1)).await;
            assert!(is_refused(&rig.call(read()).await));
        }
        answer.say(Say::Down);
        call.ended().unwrap_err();
    }
    assert_eq!(rig.left(), secs(15));
}

/// Fails probes until that many trips have passed, and returns their waits.
async fn waits_of_trips(rig: &Rig, trips: usize) -> Vec<Duration> {
    let mut events = rig.handle.events();
    rig.trip().await;
    for _ in 1..trips {
        rig.wait_out().await;
        rig.calls(1, Say::Down).await;
    }
    waits(&drain(&mut events))
}

#[tokio::test(start_paused = true)]
async fn r10_waits_grow_to_a_cap() {
    let rig = Rig::new(policy());
    let waits = waits_of_trips(&rig, 7).await;
    assert_eq!(waits, [30, 60, 120, 240, 300, 300, 300].map(secs));
}

#[tokio::test(start_paused = true)]
async fn r10_waits_grow_from_an_old_serving_too() {
    let rig = Rig::new(policy());
    advance(secs(3600)).await;
    let waits = waits_of_trips(&rig, 4).await;
    assert_eq!(waits, [30, 60, 120, 240].map(secs));
}

#[tokio::test(start_paused = true)]
async fn r10_a_factor_of_one_keeps_the_wait() {
    let rig = Rig::new(policy().with_wait_growing(1.0, secs(300)));
    assert_eq!(waits_of_trips(&rig, 3).await, [30, 30, 30].map(secs));
}

#[tokio::test(start_paused = true)]
async fn r10_jitter_comes_after_the_cap() {
    let jittered = policy()
        .with_jitter(0.2)
        .with_wait(secs(100))
        .with_wait_growing(2.0, secs(100));
    let mut waits = Vec::new();
    for seed in 0..40 {
        let rig = Rig::built(builder(jittered.clone()).seed(seed));
        waits.extend(waits_of_trips(&rig, 2).await);
    }
    let range = secs(80)..=secs(120);
    assert!(waits.iter().all(|wait| range.contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait > secs(105)), "beyond the cap");
    assert!(waits.iter().any(|wait| *wait < secs(95)));
}

#[tokio::test(start_paused = true)]
async fn r10_jitter_can_be_seeded() {
    let jittered = policy().with_jitter(0.2);
    let mut seen = Vec::new();
    for seed in [1, 1, 2] {
        let rig = Rig::built(builder(jittered.clone()).seed(seed));
        seen.push(waits_of_trips(&rig, 4).await);
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
}

#[tokio::test(start_paused = true)]
async fn r10_waits_start_anew_when_serving_lasted_a_base_wait() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.prove().await;
    advance(secs(30)).await;
    rig.trip().await;
    assert_eq!(rig.left(), secs(30));
}

#[tokio::test(start_paused = true)]
async fn r10_waits_go_on_growing_when_it_did_not() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.prove().await;
    advance(secs(30) - NANO).await;
    rig.trip().await;
    assert_eq!(rig.left(), secs(60));
}

#[tokio::test(start_paused = true)]
async fn r10_retry_after_is_the_least_that_a_trip_waits() {
    let rig = Rig::new(policy());
    rig.calls(1, Say::Busy(429, secs(90))).await;
    assert_eq!(rig.mode(), Mode::Serving, "neutral");
    rig.trip().await;
    assert_eq!(rig.left(), secs(90));
}

#[tokio::test(start_paused = true)]
async fn r10_a_short_retry_after_does_not_shorten_the_wait() {
    let rig = Rig::new(policy());
    rig.calls(1, Say::Busy(429, secs(10))).await;
    rig.trip().await;
    assert_eq!(rig.left(), secs(30));
}

#[tokio::test(start_paused = true)]
async fn r10_retry_after_is_capped_at_the_longest_wait() {
    let rig = Rig::new(policy());
    rig.calls(1, Say::Busy(429, secs(3600))).await;
    rig.trip().await;
    assert_eq!(rig.left(), secs(300));
}

#[tokio::test(start_paused = true)]
async fn r10_a_late_retry_after_is_not_heeded() {
    let rig = Rig::new(policy());
    let answer = rig.partner.next_waits();
    let late = rig.begin(read());
    rig.handle.reset("on-call", "drill").unwrap();
    answer.say(Say::Busy(429, secs(90)));
    late.ended().unwrap_err();
    rig.trip().await;
    assert_eq!(rig.left(), secs(30));
}

// ---- R11 ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r11_the_mode_after_the_wait_is_probing_although_nobody_called() {
    let rig = Rig::new(policy());
    rig.trip().await;
    advance(secs(30)).await;
    assert_eq!(rig.handle.status().mode, Mode::Probing);
    assert_eq!(rig.handle.status().since, wall(secs(30)));
}

#[tokio::test(start_paused = true)]
async fn r11_transitions_bear_the_instants_they_fell_due_in_order() {
    let rig = Rig::new(policy());
    let mut events = rig.handle.events();
    rig.trip().await; // waits until 30 s
    let hold = drill().for_at_most(secs(45));
    rig.handle.engage(hold).unwrap();
    advance(secs(1000)).await;

    let seen: Vec<_> = drain(&mut events)
        .iter()
        .filter(|event| since_start(event) > Duration::ZERO)
        .map(|event| (since_start(event), event.kind.clone()))
        .collect();
    assert!(
        matches!(
            &seen[..],
            [
                (at, EventKind::HoldEnded { expired: true, .. }),
                (also, EventKind::ModeChanged { to: Mode::Probing, .. }),
                (later, EventKind::WaitingForProbe),
            ] if (*at, *also, *later) == (secs(45), secs(45), secs(75))
        ),
        "{seen:?}"
    );
    assert_eq!(rig.handle.status().since, wall(secs(45)));
}

#[tokio::test(start_paused = true)]
async fn r11_a_call_moves_time() {
    let rig = Rig::new(policy());
    rig.trip().await;
    advance(secs(30)).await;
    // The deadline has passed, and the call itself is the first to find that.
    assert_eq!(rig.call(read()).await, Ok(7));
    assert_eq!(rig.handle.status().probing.unwrap().successes, 1);
}

#[tokio::test(start_paused = true)]
async fn r11_a_request_before_the_routes_moves_time() {
    let rig = Rig::new(policy());
    rig.trip().await;
    advance(secs(30)).await;
    assert_eq!(rig.visit(read()).await, Page::Paid(7));
}

#[tokio::test(start_paused = true)]
async fn r11_a_refused_request_moves_time_too() {
    let rig = Rig::new(policy());
    rig.trip().await;
    let log = Log::new();
    let _listening = log.listen();
    advance(secs(31)).await;
    assert!(is_refused(&rig.call(charge()).await));
    assert_eq!(
        log.lines(Level::WARN, &["mode changed", "to=probing"])
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn r11_an_admitted_call_that_finds_a_deadline_looks_too() {
    let rig = Rig::new(policy());
    rig.handle.bypass("on-call", "drill").unwrap();
    let hold = drill().for_at_most(secs(10));
    rig.handle.engage(hold).unwrap();
    let log = Log::new();
    let _listening = log.listen();
    advance(secs(10)).await;
    // A call that stays in flight: only its admission looks at the time.
    rig.partner.says(Say::Hang);
    let mut service = rig.service.clone();
    let _call = service.call_unpolled(read());
    assert_eq!(log.lines(Level::WARN, &["hold ended"]).len(), 1);
}

trait CallUnpolled {
    type Future;
    fn call_unpolled(&mut self, request: Request) -> Self::Future;
}

impl CallUnpolled for Wrapped {
    type Future = <Self as Service<Request>>::Future;

    fn call_unpolled(&mut self, request: Request) -> Self::Future {
        let ready = self.poll_ready(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(ready.is_ready());
        self.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn r11_a_pending_recv_moves_time() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    let mut events = rig.handle.events();
    let hold = drill().for_at_most(secs(90));
    rig.handle.engage(hold).unwrap();
    drain(&mut events);
    // Paused time runs on to the next timer, which is the receiver's.
    let bust = busts.recv().await.unwrap();
    assert_eq!(bust.at, wall(secs(90)));
    assert_eq!(rig.handle.status().at, wall(secs(90)));

    rig.trip().await;
    drain(&mut events);
    let changed = events.recv().await.unwrap();
    assert_eq!(since_start(&changed), secs(120));
}

#[tokio::test(start_paused = true)]
async fn r11_wait_until_serving_moves_time() {
    let rig = Rig::new(policy());
    let hold = drill().for_at_most(secs(90));
    rig.handle.engage(hold).unwrap();
    rig.handle.wait_until_serving().await;
    let status = rig.handle.status();
    assert_eq!((status.at, status.mode), (wall(secs(90)), Mode::Serving));
}

#[test]
fn r11_a_layer_can_be_built_and_used_outside_a_runtime() {
    let rig = Rig::new(policy());
    assert_eq!(at_once(rig.call(read())), Some(Ok(7)));
    for _ in 0..5 {
        rig.partner.next_says([Say::Down]);
        let called = at_once(rig.call(read())).unwrap();
        assert_eq!(called, Err(Error::Inner(Failed::Down)));
    }
    assert!(is_refused(&at_once(rig.call(read())).unwrap()));
    rig.handle.clear("on-call", "drill").unwrap();
    assert_eq!(rig.mode(), Mode::Serving);
}
