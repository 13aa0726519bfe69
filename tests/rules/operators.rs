//! R19, R20 and R23: what operators do.

use tokio::time::advance;
use tower_maintenance::{
    Action, Cause, CommandError, EventKind, Exemption, Hold, Mode, Policy, PolicyChange, Rate,
    Window,
};
use tracing::Level;

use crate::support::*;

/// A change that this actor makes for this reason.
type Change<'a> = &'a dyn Fn(&str, &str);

// ---- R19 ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r19_each_change_bears_actor_reason_and_time() {
    let rig = Rig::new(policy());
    let changes: [(Action, Change<'_>); 13] = [
        (Action::Engage, &|a, r| {
            drop(rig.handle.engage(Hold::new(a, r)).unwrap());
        }),
        (Action::Release, &|a, r| {
            drop(rig.handle.release(a, r).unwrap())
        }),
        (Action::Trip, &|a, r| drop(rig.handle.trip(a, r).unwrap())),
        (Action::ProbeNow, &|a, r| {
            drop(rig.handle.probe_now(a, r).unwrap())
        }),
        (Action::Clear, &|a, r| drop(rig.handle.clear(a, r).unwrap())),
        (Action::Reset, &|a, r| drop(rig.handle.reset(a, r).unwrap())),
        (Action::DryRun, &|a, r| {
            drop(rig.handle.dry_run(a, r).unwrap())
        }),
        (Action::Arm, &|a, r| drop(rig.handle.arm(a, r).unwrap())),
        (Action::Bypass, &|a, r| {
            drop(rig.handle.bypass(a, r).unwrap())
        }),
        (Action::EndBypass, &|a, r| {
            drop(rig.handle.end_bypass(a, r).unwrap())
        }),
        (Action::ReplacePolicy, &|a, r| {
            drop(rig.handle.replace_policy(&Policy::default(), a, r).unwrap());
        }),
        (Action::ReplaceExemptions, &|a, r| {
            drop(rig.handle.replace_exemptions([], a, r).unwrap());
        }),
        (Action::ReleaseVerified, &|a, r| {
            rig.handle.engage(drill()).unwrap();
            drop(rig.handle.release_verified(a, r).unwrap());
        }),
    ];
    for (number, (action, change)) in changes.into_iter().enumerate() {
        advance(secs(1)).await;
        let actor = format!("actor {number}");
        change(&actor, "ticket 4711");
        let entry = rig.handle.audit().pop().unwrap();
        assert_eq!((entry.action, &*entry.actor), (action, &*actor));
        assert_eq!(&*entry.reason, "ticket 4711");
        assert_eq!(entry.at, wall(secs(number as u64 + 1)));
        assert!(entry.changed);
    }
    let numbers: Vec<_> = rig.handle.audit().iter().map(|e| e.number).collect();
    assert_eq!(numbers, (1..=14).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn r19_what_holds_bears_who_why_since_and_until() {
    let rig = Rig::new(policy());
    rig.trip().await;
    advance(secs(10)).await;
    let hold = Hold::new("on-call", "ticket 4711").for_at_most(secs(3600));
    rig.handle.engage(hold).unwrap();
    let status = rig.handle.status();
    let [held, tripped] = &status.causes[..] else {
        panic!("two causes: {status}");
    };
    assert_eq!(held.cause, Cause::Operator);
    assert_eq!((&*held.actor, &*held.reason), ("on-call", "ticket 4711"));
    assert_eq!(held.since, wall(secs(10)));
    assert_eq!(held.until, Some(wall(secs(3610))));
    assert_eq!(tripped.cause, Cause::Tripped);
    assert_eq!(&*tripped.actor, "tower-maintenance");
    assert_eq!(&*tripped.reason, "5 calls failed in a row");
    assert_eq!(
        (tripped.since, tripped.until),
        (wall(secs(0)), Some(wall(secs(30))))
    );
}

#[tokio::test(start_paused = true)]
async fn r19_an_expired_hold_ends_by_itself() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    rig.handle.engage(drill().for_at_most(secs(60))).unwrap();
    advance(secs(60) - NANO).await;
    assert!(is_refused(&rig.call(read()).await));
    advance(NANO).await;
    assert_eq!(rig.call(read()).await, Ok(7));
    assert_eq!(busts.try_recv().unwrap().at, wall(secs(60)));
    let ended = rig.handle.release("on-call", "drill");
    assert_eq!(ended, Err(CommandError::NotHeld));
}

#[tokio::test(start_paused = true)]
async fn r19_an_expired_hold_uncovers_what_lies_beneath_it() {
    let rig = Rig::new(policy());
    rig.trip().await;
    rig.handle.engage(drill().for_at_most(secs(10))).unwrap();
    advance(secs(10)).await;
    let status = rig.handle.status();
    assert_eq!(status.mode, Mode::Maintenance);
    assert_eq!(status.causes.len(), 1);
    assert_eq!(status.causes[0].cause, Cause::Tripped);
    assert_eq!(rig.left(), secs(20), "the trip's wait ran on");
}

#[tokio::test(start_paused = true)]
async fn r19_a_hold_without_expiry_lasts() {
    let rig = Rig::new(policy());
    rig.handle.engage(drill()).unwrap();
    advance(secs(365 * 24 * 3600)).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
    let refused = rig.call(read()).await.unwrap_err();
    assert_eq!(refused.refused().unwrap().retry_after(), None);
}

#[tokio::test(start_paused = true)]
async fn r19_a_change_without_actor_or_reason_is_an_error_and_changes_nothing() {
    let rig = Rig::new(policy());
    let long = |most: usize| "x".repeat(most + 1);
    let cases = [
        (
            "",
            "drill".into(),
            "the actor has 0 bytes: allowed is 1 to 256",
        ),
        (
            " ",
            "drill".into(),
            "the actor has 0 bytes: allowed is 1 to 256",
        ),
        (
            "on-call",
            String::new(),
            "the reason has 0 bytes: allowed is 1 to 2048",
        ),
        (
            "on-call",
            long(2048),
            "the reason has 2049 bytes: allowed is 1 to 2048",
        ),
    ];
    for (actor, reason, text) in cases {
        let error = rig.handle.engage(Hold::new(actor, reason)).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    let error = rig.handle.trip(long(256), "drill").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the actor has 257 bytes: allowed is 1 to 256"
    );
    let error = rig.handle.engage(drill().for_at_most(secs(0))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the hold's expiry is 0 s: allowed is any time longer than 0"
    );
    assert_eq!(rig.mode(), Mode::Serving);
    assert_eq!(rig.handle.audit(), []);
}

// ---- R20 ----------------------------------------------------------------------------------------

fn replace(rig: &Rig, policy: &Policy) {
    rig.handle
        .replace_policy(policy, "on-call", "drill")
        .unwrap();
}

fn exempt_invoices(counted: bool) -> Exemption {
    let exemption = Exemption::call("invoice.read", "customers may always see what they owe");
    if counted {
        exemption.counted()
    } else {
        exemption
    }
}

#[tokio::test(start_paused = true)]
async fn r20_exemptions_can_be_replaced_while_running() {
    let rig = Rig::new(policy());
    rig.handle.engage(drill()).unwrap();
    assert!(is_refused(&rig.call(invoice()).await));
    rig.handle
        .replace_exemptions([exempt_invoices(false)], "on-call", "drill")
        .unwrap();
    assert_eq!(rig.call(invoice()).await, Ok(11));
    rig.handle
        .replace_exemptions([], "on-call", "drill")
        .unwrap();
    assert!(is_refused(&rig.call(invoice()).await));
}

#[tokio::test(start_paused = true)]
async fn r20_what_was_exempt_at_admission_stays_so() {
    let rig = Rig::built(builder(policy()).exempt(exempt_invoices(false)));
    let answer = rig.partner.next_waits();
    let uncounted = rig.begin(invoice());
    rig.handle
        .replace_exemptions([], "on-call", "drill")
        .unwrap();
    answer.say(Say::Down);
    uncounted.ended().unwrap_err();
    assert_eq!(rig.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn r20_what_was_counted_at_admission_stays_so() {
    let rig = Rig::built(builder(policy()).exempt(exempt_invoices(true)));
    let answer = rig.partner.next_waits();
    let counted = rig.begin(invoice());
    rig.handle
        .replace_exemptions([exempt_invoices(false)], "on-call", "drill")
        .unwrap();
    answer.say(Say::Down);
    counted.ended().unwrap_err();
    assert_eq!(rig.failed(), 1);
}

#[tokio::test(start_paused = true)]
async fn r20_thresholds_are_those_in_force_when_a_result_lands() {
    let rig = Rig::new(policy());
    let answer = rig.partner.next_waits();
    let call = rig.begin(read());
    rig.calls(1, Say::Down).await;
    replace(&rig, &policy().with_consecutive_failures(2));
    assert_eq!(
        rig.mode(),
        Mode::Serving,
        "judged only when something lands"
    );
    answer.say(Say::Down);
    call.ended().unwrap_err();
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r20_the_hang_limit_is_the_one_in_force_when_a_call_is_dropped() {
    let rig = Rig::new(policy());
    rig.partner.says(Say::Hang);
    let call = rig.begin(read());
    advance(secs(5)).await;
    replace(&rig, &policy().with_hang_limit(secs(6)));
    drop(call);
    assert_eq!(rig.failed(), 0);
}

#[tokio::test(start_paused = true)]
async fn r20_a_running_wait_keeps_its_end() {
    let rig = Rig::new(policy());
    rig.trip().await;
    replace(&rig, &policy().with_wait(secs(1)));
    assert_eq!(rig.left(), secs(30));
    rig.wait_out().await;
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.left(), secs(2), "the next wait is the new one");
}

#[tokio::test(start_paused = true)]
async fn r20_probing_ends_under_the_numbers_it_began_with() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    let new = policy()
        .with_probes(5)
        .with_successes_needed(1)
        .with_lease(secs(1))
        .with_ramp(secs(10));
    replace(&rig, &new);
    rig.calls(2, Say::Ok).await;
    assert_eq!(rig.mode(), Mode::Probing);
    rig.partner.next_says([Say::Hang]);
    let probe = rig.begin(read());
    assert!(is_refused(&rig.call(read()).await), "one at a time");
    advance(secs(2)).await;
    assert_eq!(rig.mode(), Mode::Probing, "its lease is 30 s");
    drop(probe);
    rig.calls(1, Say::Ok).await;
    assert_eq!(rig.mode(), Mode::Serving, "without a ramp");
}

#[tokio::test(start_paused = true)]
async fn r20_a_ramp_ends_under_the_numbers_it_began_with() {
    let rig = Rig::new(policy().with_ramp(secs(100)));
    rig.trip_and_wait().await;
    rig.calls(3, Say::Ok).await;
    replace(&rig, &policy().with_ramp(secs(1)));
    advance(secs(100) - NANO).await;
    assert_eq!(rig.mode(), Mode::Probing);
    advance(NANO).await;
    assert_eq!(rig.mode(), Mode::Serving);
}

#[tokio::test(start_paused = true)]
async fn r20_window_contents_survive_when_its_shape_is_unchanged() {
    let rig = Rig::new(policy());
    rig.calls(3, Say::Ok).await;
    rig.calls(4, Say::Down).await;
    replace(&rig, &policy().with_failure_rate(Rate::ratio(0.9).unwrap()));
    assert_eq!((rig.total(), rig.failed()), (7, 4));
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Maintenance, "the run goes on");
}

#[tokio::test(start_paused = true)]
async fn r20_another_shape_starts_an_empty_window() {
    let rig = Rig::new(policy());
    rig.calls(4, Say::Down).await;
    replace(&rig, &policy().with_window(Window::calls(10)));
    assert_eq!(rig.total(), 0);
    rig.calls(4, Say::Down).await;
    assert_eq!((rig.mode(), rig.total()), (Mode::Serving, 4));
}

#[tokio::test(start_paused = true)]
async fn r20_a_replaced_policy_says_what_changed_setting_by_setting() {
    let rig = Rig::new(policy());
    let mut events = rig.handle.events();
    let log = Log::new();
    let listening = log.listen();
    let new = policy()
        .with_min_calls(20)
        .with_window(Window::time(secs(60)).in_buckets(20))
        .without_consecutive_failures()
        .with_slow_calls(millis(1_540), Rate::HALF)
        .with_wait_growing(1.5, secs(240));
    replace(&rig, &new);
    drop(listening);
    let expected = [
        "window 60s in 10 buckets -> 60s in 20 buckets",
        "min_calls 10 -> 20",
        "consecutive_failures 5 -> off",
        "slow_calls off -> 50 % over 1.54s",
        "given_up 10 after 1s -> 20 after 1s",
        "wait_growing by 2 up to 300s -> by 1.5 up to 240s",
    ];
    let shown = |changes: &[PolicyChange]| -> Vec<String> {
        changes.iter().map(ToString::to_string).collect()
    };
    let event = events.try_recv().unwrap();
    let EventKind::PolicyReplaced { changes, .. } = &event.kind else {
        panic!("{event:?}");
    };
    assert_eq!(shown(changes), expected);
    assert_eq!(shown(&rig.handle.audit()[0].policy_changes), expected);
    let line = format!("changes={} ", expected.join(", "));
    let lines = log.lines(Level::INFO, &["policy replaced", &line]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(rig.handle.policy(), new);
    assert_eq!(rig.handle.status().policy, new);

    // Another command changes no setting.
    rig.handle.engage(drill()).unwrap();
    assert_eq!(*rig.handle.audit()[1].policy_changes, []);
}

/// For each setting a policy that differs from [`policy`] in it alone.
fn changed_in_one() -> [(&'static str, Policy); 16] {
    let rate = Rate::percent(12.5).unwrap();
    [
        ("window", policy().with_window(Window::calls(50))),
        (
            "min_calls",
            policy().with_given_up(10, secs(1)).with_min_calls(9),
        ),
        ("failure_rate", policy().with_failure_rate(rate)),
        (
            "consecutive_failures",
            policy().with_consecutive_failures(6),
        ),
        ("slow_calls", policy().with_slow_calls(secs(2), rate)),
        ("given_up", policy().without_given_up()),
        ("hang_limit", policy().with_hang_limit(secs(4))),
        ("wait", policy().with_wait(secs(31))),
        ("wait_growing", policy().with_wait_growing(2.0, secs(301))),
        ("jitter", policy().with_jitter(0.25)),
        ("probes", policy().with_probes(2)),
        ("successes_needed", policy().with_successes_needed(4)),
        ("lease", policy().with_lease(secs(29))),
        ("ramp", policy().with_ramp(secs(60))),
        ("ramp_start", policy().with_ramp_start(rate)),
        ("ping_every", policy().with_ping_every(secs(2))),
    ]
}

#[tokio::test(start_paused = true)]
async fn r20_every_setting_has_a_getter_and_is_among_the_changes() {
    let (old, changed) = (policy(), changed_in_one());
    for (setting, new) in &changed {
        let changes = old.changes(new);
        let names: Vec<_> = changes.iter().map(|change| change.setting).collect();
        assert_eq!(names, [*setting]);
        assert_eq!(old.changes(&old.clone()), []);
        let rig = Rig::new(old.clone());
        replace(&rig, new);
        assert_eq!(rig.handle.policy(), *new, "{setting}");
    }
    let rate = Rate::percent(12.5).unwrap();
    let [
        _,
        _,
        _,
        _,
        slow,
        off,
        _,
        _,
        growing,
        _,
        _,
        _,
        _,
        ramp,
        ramp_start,
        _,
    ] = changed.map(|(_, policy)| policy);
    assert_eq!(slow.slow_calls(), Some((secs(2), rate)));
    assert_eq!(
        (off.given_up(), old.given_up()),
        (None, Some((10, secs(1))))
    );
    assert_eq!(
        (growing.wait_growing(), old.wait_growing()),
        ((2.0, secs(301)), (2.0, secs(300)))
    );
    assert_eq!((ramp.ramp(), old.ramp()), (Some(secs(60)), None));
    assert_eq!(ramp_start.ramp_start(), rate);
    // By default the longest wait is never below the wait.
    assert_eq!(old.clone().with_wait(secs(600)).wait_growing().1, secs(600));
}

#[tokio::test(start_paused = true)]
async fn r20_a_policy_that_acts_alike_changes_nothing_and_is_kept_as_given() {
    let rig = Rig::new(policy());
    let mut events = rig.handle.events();
    let alike = policy().with_given_up(10, secs(1));
    assert_ne!(alike, policy());
    let receipt = rig
        .handle
        .replace_policy(&alike, "on-call", "drill")
        .unwrap();
    assert!(!receipt.changed());
    assert!(events.try_recv().is_none());
    assert_eq!(rig.handle.policy(), alike);
}

#[tokio::test(start_paused = true)]
async fn r20_a_refused_change_leaves_the_old_one_in_force() {
    let rig = Rig::built(builder(policy()).exempt(exempt_invoices(false)));
    let wrong = policy().with_wait(secs(0)).with_consecutive_failures(1);
    let error = rig.handle.replace_policy(&wrong, "on-call", "drill");
    assert_eq!(
        error.unwrap_err().to_string(),
        "policy: wait is 0 s: allowed is any time longer than 0"
    );
    let wrong = Exemption::call("", "no name");
    let error = rig.handle.replace_exemptions([wrong], "on-call", "drill");
    error.unwrap_err();
    let error = rig.handle.replace_exemptions([], "", "drill");
    error.unwrap_err();

    assert_eq!(rig.handle.audit(), []);
    assert_eq!(rig.handle.exemptions().len(), 1);
    rig.calls(4, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Serving);
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.call(invoice()).await, Ok(11));
}

// ---- R23 ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r23_engage_again_replaces_actor_reason_and_expiry() {
    let rig = Rig::new(policy());
    rig.handle.engage(drill().for_at_most(secs(10))).unwrap();
    rig.handle
        .engage(Hold::new("boss", "ticket 4711").for_at_most(secs(100)))
        .unwrap();
    let status = rig.handle.status();
    assert_eq!(status.causes.len(), 1, "one hold a layer");
    assert_eq!(&*status.causes[0].actor, "boss");
    assert_eq!(&*status.causes[0].reason, "ticket 4711");
    advance(secs(99)).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
    rig.handle.engage(drill()).unwrap();
    advance(secs(1000)).await;
    assert_eq!(rig.mode(), Mode::Maintenance, "no expiry any more");
}

#[tokio::test(start_paused = true)]
async fn r23_release_ends_the_hold_and_uncovers_a_trip() {
    let rig = Rig::new(policy());
    rig.trip().await;
    rig.handle.engage(drill()).unwrap();
    advance(secs(10)).await;
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(
        rig.mode(),
        Mode::Maintenance,
        "the partner was not declared healthy"
    );
    assert_eq!(rig.left(), secs(20));

    rig.handle.engage(drill()).unwrap();
    advance(secs(60)).await;
    assert_eq!(
        rig.mode(),
        Mode::Maintenance,
        "a hold beats the end of a wait"
    );
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(rig.mode(), Mode::Probing);
}

#[tokio::test(start_paused = true)]
async fn r23_release_without_a_hold_is_an_error() {
    let rig = Rig::new(policy());
    let not_held = Err(CommandError::NotHeld);
    assert_eq!(rig.handle.release("on-call", "drill"), not_held);
    assert_eq!(rig.handle.release_verified("on-call", "drill"), not_held);
    rig.trip().await;
    assert_eq!(rig.handle.release("on-call", "drill"), not_held);
    assert_eq!(rig.handle.release_verified("on-call", "drill"), not_held);
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r23_release_verified_leaves_through_probing() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    rig.handle.engage(drill()).unwrap();
    rig.handle.release_verified("on-call", "drill").unwrap();
    let status = rig.handle.status();
    assert_eq!(status.mode, Mode::Probing);
    assert_eq!(status.causes[0].cause, Cause::Tripped);
    assert_eq!(busts.try_recv(), None);
    rig.prove().await;
    assert_eq!(busts.try_recv().unwrap().episode, 1);
}

#[tokio::test(start_paused = true)]
async fn r23_release_verified_ends_the_wait_beneath_the_hold() {
    let rig = Rig::new(policy());
    rig.trip().await;
    rig.handle.engage(drill()).unwrap();
    rig.handle.release_verified("on-call", "drill").unwrap();
    assert_eq!(rig.mode(), Mode::Probing);
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.left(), secs(60), "its waits go on growing");
}

#[tokio::test(start_paused = true)]
async fn r23_trip_begins_the_next_wait_and_again_restarts_it() {
    let rig = Rig::new(policy());
    rig.handle.trip("on-call", "drill").unwrap();
    assert_eq!(rig.left(), secs(30));
    advance(secs(20)).await;
    rig.handle.trip("on-call", "drill").unwrap();
    assert_eq!(rig.left(), secs(30), "restarted, not grown");
    rig.wait_out().await;
    rig.handle.trip("on-call", "drill").unwrap();
    assert_eq!(rig.mode(), Mode::Maintenance);
    assert_eq!(rig.left(), secs(60), "the next");
    let status = rig.handle.status();
    assert_eq!(&*status.causes[0].actor, "on-call");
}

#[tokio::test(start_paused = true)]
async fn r23_probe_now_ends_the_wait_of_a_trip() {
    let rig = Rig::new(policy());
    rig.trip().await;
    rig.handle.probe_now("on-call", "drill").unwrap();
    assert_eq!(rig.mode(), Mode::Probing);
    rig.prove().await;
}

#[tokio::test(start_paused = true)]
async fn r23_probe_now_beneath_a_hold_shows_when_the_hold_ends() {
    let rig = Rig::new(policy());
    rig.trip().await;
    rig.handle.engage(drill()).unwrap();
    rig.handle.probe_now("on-call", "drill").unwrap();
    assert_eq!(rig.mode(), Mode::Maintenance);
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(rig.mode(), Mode::Probing);
}

#[tokio::test(start_paused = true)]
async fn r23_probe_now_without_a_trip_is_an_error() {
    let rig = Rig::new(policy());
    let not_tripped = Err(CommandError::NotTripped);
    assert_eq!(rig.handle.probe_now("on-call", "drill"), not_tripped);
    rig.handle.engage(drill()).unwrap();
    assert_eq!(rig.handle.probe_now("on-call", "drill"), not_tripped);
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r23_clear_ends_trip_and_hold() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    rig.trip().await;
    rig.handle.engage(drill()).unwrap();
    let receipt = rig.handle.clear("on-call", "drill").unwrap();
    assert!(receipt.changed());
    assert_eq!(receipt.status().mode, Mode::Serving);
    assert_eq!(receipt.status().causes, []);
    assert_eq!(busts.try_recv().unwrap().episode, 1);
}

#[tokio::test(start_paused = true)]
async fn r23_clear_resets_the_wait() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.calls(1, Say::Down).await;
    assert_eq!(rig.left(), secs(60));
    rig.handle.clear("on-call", "drill").unwrap();
    rig.trip().await;
    assert_eq!(rig.left(), secs(30));
}

#[tokio::test(start_paused = true)]
async fn r23_reset_empties_the_window_and_begins_an_era_in_every_mode() {
    let rig = Rig::new(policy());
    let reset = || {
        let era = rig.handle.status().era;
        rig.handle.reset("on-call", "drill").unwrap();
        let status = rig.handle.status();
        assert_eq!(status.mode, Mode::Serving);
        assert_eq!((status.window.total, status.causes.len()), (0, 0));
        assert!(status.era > era);
    };
    rig.calls(4, Say::Down).await;
    reset();
    rig.calls(4, Say::Down).await;
    assert_eq!(rig.mode(), Mode::Serving, "the run is gone");
    reset();
    rig.trip().await;
    reset();
    rig.handle.engage(drill()).unwrap();
    reset();
    rig.trip_and_wait().await;
    reset();
    rig.trip().await;
    assert_eq!(rig.left(), secs(30), "and the wait is reset");
}

#[tokio::test(start_paused = true)]
async fn r23_a_command_that_changes_nothing_gives_no_signal() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    let generation = rig.handle.status().generation;
    rig.handle.release("on-call", "drill").unwrap_err();
    rig.handle.probe_now("on-call", "drill").unwrap_err();
    let cleared = rig.handle.clear("on-call", "drill").unwrap();
    assert!(!cleared.changed());
    rig.handle.reset("on-call", "drill").unwrap();
    rig.handle.arm("on-call", "drill").unwrap();
    rig.handle.end_bypass("on-call", "drill").unwrap();
    replace(&rig, &policy());
    assert_eq!(busts.try_recv(), None);
    assert_eq!(rig.handle.status().generation, generation);
    assert_eq!(rig.handle.episodes(), []);
}

#[tokio::test(start_paused = true)]
async fn r23_commands_are_real_at_once() {
    let rig = Rig::new(policy());
    let receipt = rig.handle.engage(drill()).unwrap();
    assert_eq!(receipt.action(), Action::Engage);
    assert_eq!(receipt.status().mode, Mode::Maintenance);
    assert!(is_refused(&rig.call(read()).await));
    let mut events = rig.handle.events();
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(rig.call(read()).await, Ok(7));
    let kinds: Vec<_> = drain(&mut events).into_iter().map(|e| e.kind).collect();
    assert!(matches!(
        kinds[..],
        [
            EventKind::HoldEnded { expired: false, .. },
            EventKind::ModeChanged { .. },
            EventKind::Recovered { .. }
        ]
    ));
}

// ---- looks that take no lock --------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_glance_shows_what_the_status_shows() {
    let rig = Rig::new(policy());
    let agree = |rig: &Rig| {
        let glance = rig.handle.glance();
        let status = rig.handle.status();
        assert_eq!(glance.partner(), &*status.partner);
        assert_eq!(glance.mode(), status.mode);
        let causes: Vec<_> = status.causes.iter().map(|cause| cause.cause).collect();
        assert_eq!(glance.causes(), causes);
        assert_eq!(glance.promised_end(), status.promised_end);
        let until = status.retry_after.map(|left| status.at + left);
        assert_eq!(glance.until(), until);
        assert_eq!(glance.is_read_only(), status.read_only);
        assert_eq!(glance.message(), status.message.as_deref());
        assert_eq!(glance.generation(), status.generation);
        let episode = status.episode.as_ref().map(|episode| episode.id);
        assert_eq!(glance.episode(), episode);
        glance
    };
    assert_eq!(agree(&rig).mode(), Mode::Serving);
    rig.trip().await;
    assert_eq!(agree(&rig).causes(), [Cause::Tripped]);
    let hold = drill()
        .for_at_most(secs(20))
        .read_only()
        .with_message("Back at noon.");
    rig.handle.engage(hold).unwrap();
    assert_eq!(agree(&rig).causes(), [Cause::Operator, Cause::Tripped]);
    // Time is applied by the glance itself.
    advance(secs(20)).await;
    assert_eq!(rig.handle.glance().causes(), [Cause::Tripped]);
    agree(&rig);
    advance(secs(10)).await;
    assert_eq!(rig.handle.glance().mode(), Mode::Probing);
    agree(&rig);
    rig.handle.wall_clock_stepped(wall(secs(7000)));
    agree(&rig);
    rig.prove().await;
    assert_eq!(agree(&rig).mode(), Mode::Serving);
    rig.handle.bypass("on-call", "drill").unwrap();
    rig.handle.engage(drill()).unwrap();
    assert_eq!(agree(&rig).causes(), [Cause::Operator]);
}
