//! R21 and R22: time, and invalid numbers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::advance;
use tower_maintenance::{Exemption, MaintenanceLayer, Mode, Policy, Rate, Window};

use crate::support::*;

// ---- R21 ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r21_paused_time_drives_everything() {
    let rig = Rig::new(policy().with_ramp(secs(3600)));
    // A window, a wait, a lease, a ramp and an expiry: two days of paused time.
    rig.calls(4, Say::Down).await;
    advance(secs(24 * 3600)).await;
    assert_eq!(rig.total(), 0);
    rig.trip_and_wait().await;
    rig.partner.next_says([Say::Hang]);
    let _hung = rig.begin(read());
    advance(secs(30)).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
    rig.wait_out().await;
    rig.calls(3, Say::Ok).await;
    advance(secs(3600)).await;
    assert_eq!(rig.mode(), Mode::Serving);
    let day = drill().for_at_most(secs(24 * 3600));
    rig.handle.engage(day).unwrap();
    advance(secs(24 * 3600)).await;
    assert_eq!(rig.mode(), Mode::Serving);
}

#[tokio::test(start_paused = true)]
async fn r21_time_stands_still_when_the_clock_does() {
    let rig = Rig::new(policy());
    rig.trip().await;
    // Some real time passes meanwhile.
    for _ in 0..1000 {
        assert!(is_refused(&rig.call(read()).await));
    }
    assert_eq!(rig.left(), secs(30));
    assert_eq!(rig.handle.status().at, wall(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn r21_wall_time_is_an_anchor_plus_that_clock() {
    let rig = Rig::new(policy());
    assert_eq!(rig.handle.status().at, wall(Duration::ZERO));
    advance(Duration::from_millis(1234)).await;
    assert_eq!(rig.handle.status().at, wall(Duration::from_millis(1234)));
    rig.handle.engage(drill()).unwrap();
    assert_eq!(rig.handle.audit()[0].at, wall(Duration::from_millis(1234)));
}

#[tokio::test(start_paused = true)]
async fn r21_a_known_step_anchors_it_anew_and_moves_no_wait() {
    let rig = Rig::new(policy());
    rig.trip().await;
    advance(secs(10)).await;
    rig.handle.wall_clock_stepped(wall(secs(7200)));
    let status = rig.handle.status();
    assert_eq!(status.at, wall(secs(7200)));
    assert_eq!(status.retry_after, Some(secs(20)));
    advance(secs(20)).await;
    let status = rig.handle.status();
    assert_eq!(status.at, wall(secs(7220)));
    assert_eq!(status.mode, Mode::Probing);
}

// ---- R22 ----------------------------------------------------------------------------------------

#[test]
fn r22_a_bad_policy_is_an_error_that_names_field_value_and_allowed_range() {
    let calls = |size| policy().with_window(Window::calls(size));
    let cases: Vec<(Policy, &str)> = vec![
        (calls(0), "window is 0: allowed is 1 to 10000000 calls"),
        (
            calls(10_000_001),
            "window is 10000001: allowed is 1 to 10000000 calls",
        ),
        (
            policy().with_window(Window::time(Duration::ZERO)),
            "window is 0 s: allowed is any time longer than 0",
        ),
        (
            policy().with_window(Window::time(secs(60)).in_buckets(0)),
            "window.buckets is 0: allowed is 1 to 3600 buckets",
        ),
        (
            policy().with_window(Window::time(secs(60)).in_buckets(3601)),
            "window.buckets is 3601: allowed is 1 to 3600 buckets",
        ),
        (
            policy().with_window(Window::time(NANO).in_buckets(2)),
            "window is 1 ns: allowed is at least one nanosecond per bucket",
        ),
        (
            policy().with_min_calls(0),
            "min_calls is 0: allowed is 1 to 4294967295 calls",
        ),
        (
            calls(10).with_min_calls(11),
            "min_calls is 11: allowed is 1 to 10, the size of the window",
        ),
        (
            calls(10).with_min_calls(0),
            "min_calls is 0: allowed is 1 to 10, the size of the window",
        ),
        (
            policy().with_consecutive_failures(0),
            "consecutive_failures is 0: allowed is 1 to 4294967295 failures",
        ),
        (
            calls(10).with_consecutive_failures(11),
            "consecutive_failures is 11: allowed is 1 to 10, the size of the window",
        ),
        (
            policy().with_slow_calls(Duration::ZERO, Rate::HALF),
            "slow_calls.longer_than is 0 s: allowed is any time longer than 0",
        ),
        (
            policy().with_hang_limit(Duration::ZERO),
            "hang_limit is 0 s: allowed is any time longer than 0",
        ),
        (
            policy().with_wait(Duration::ZERO),
            "wait is 0 s: allowed is any time longer than 0",
        ),
        (
            policy().with_wait_growing(0.5, secs(300)),
            "wait_growing.factor is 0.5: allowed is 1 or more, and finite",
        ),
        (
            policy().with_wait_growing(f64::NAN, secs(300)),
            "wait_growing.factor is NaN: allowed is 1 or more, and finite",
        ),
        (
            policy().with_wait_growing(f64::INFINITY, secs(300)),
            "wait_growing.factor is inf: allowed is 1 or more, and finite",
        ),
        (
            policy().with_wait_growing(2.0, secs(29)),
            "wait_growing.longest is 29 s: allowed is at least the wait, 30 s",
        ),
        (
            policy().with_jitter(1.0),
            "jitter is 1: allowed is 0 to less than 1",
        ),
        (
            policy().with_jitter(-0.1),
            "jitter is -0.1: allowed is 0 to less than 1",
        ),
        (
            policy().with_jitter(f64::NAN),
            "jitter is NaN: allowed is 0 to less than 1",
        ),
        (
            policy().with_probes(0),
            "probes is 0: allowed is 1 to 10000 probes",
        ),
        (
            policy().with_successes_needed(0),
            "successes_needed is 0: allowed is 1 to 10000 successes",
        ),
        (
            policy().with_lease(Duration::ZERO),
            "lease is 0 s: allowed is any time longer than 0",
        ),
        (
            policy().with_ramp(Duration::ZERO),
            "ramp is 0 s: allowed is any time longer than 0",
        ),
        (
            policy().with_ping_every(Duration::ZERO),
            "ping_every is 0 s: allowed is any time longer than 0",
        ),
    ];
    for (policy, text) in cases {
        assert_eq!(policy.check().unwrap_err().to_string(), text);
        let built = builder(policy).build().unwrap_err();
        assert_eq!(built.to_string(), format!("policy: {text}"));
    }
    policy().check().unwrap();
}

#[test]
fn r22_a_bad_rate_is_an_error() {
    let percent = [
        (0.0, "rate is 0 %: allowed is above 0 % and at most 100 %"),
        (-1.0, "rate is -1 %: allowed is above 0 % and at most 100 %"),
        (
            100.5,
            "rate is 100.5 %: allowed is above 0 % and at most 100 %",
        ),
        (
            f64::NAN,
            "rate is NaN %: allowed is above 0 % and at most 100 %",
        ),
    ];
    for (value, text) in percent {
        assert_eq!(Rate::percent(value).unwrap_err().to_string(), text);
    }
    let ratio = [
        (0.0, "rate is 0: allowed is above 0 and at most 1"),
        (1.5, "rate is 1.5: allowed is above 0 and at most 1"),
        (f64::NAN, "rate is NaN: allowed is above 0 and at most 1"),
        (
            f64::INFINITY,
            "rate is inf: allowed is above 0 and at most 1",
        ),
    ];
    for (value, text) in ratio {
        assert_eq!(Rate::ratio(value).unwrap_err().to_string(), text);
    }
    assert_eq!(Rate::percent(100.0).unwrap().as_ratio(), 1.0);
}

#[test]
fn r22_bad_exemptions_are_an_error() {
    let built = |exemptions: &[Exemption]| {
        let layer = exemptions
            .iter()
            .cloned()
            .fold(builder(policy()), |b, e| b.exempt(e));
        layer.build().unwrap_err().to_string()
    };
    assert_eq!(
        built(&[Exemption::call("", "why")]),
        "exemptions: exemption 1 (around calls) has no name: give the name or the pattern of the endpoint"
    );
    assert_eq!(
        built(&[Exemption::call("invoice.read", " ")]),
        "exemptions: the exemption of `invoice.read` has no reason: say why maintenance must not affect it"
    );
    let twice = Exemption::call("invoice.read", "why");
    assert_eq!(
        built(&[twice.clone(), twice]),
        "exemptions: `invoice.read` is exempt twice around calls: list it once"
    );
}

#[tokio::test(start_paused = true)]
async fn r22_a_wait_near_the_largest_duration_saturates() {
    for jitter in [0.0, 0.2] {
        for wait in [Duration::MAX, Duration::MAX - NANO] {
            let rig = Rig::new(policy().with_wait(wait).with_jitter(jitter));
            advance(secs(1)).await;
            rig.trip().await;
            advance(secs(100 * 365 * 24 * 3600)).await;
            assert_eq!(rig.mode(), Mode::Maintenance);
            assert!(is_refused(&rig.call(read()).await));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r22_nothing_panics_on_the_largest_of_everything() {
    let largest = policy()
        .with_window(Window::time(Duration::MAX))
        .with_slow_calls(Duration::MAX, Rate::HALF)
        .with_hang_limit(Duration::MAX)
        .with_wait_growing(f64::MAX, Duration::MAX)
        .with_jitter(0.999_999)
        .with_probes(10_000)
        .with_successes_needed(3)
        .with_lease(Duration::MAX)
        .with_ramp(Duration::MAX)
        .with_ping_every(Duration::MAX);
    let rig = Rig::new(largest);
    for _ in 0..3 {
        rig.handle.trip("on-call", "drill").unwrap();
        rig.handle.probe_now("on-call", "drill").unwrap();
    }
    rig.calls(3, Say::Ok).await;
    assert_eq!(rig.mode(), Mode::Probing, "a ramp without end");
    rig.call(read()).await.unwrap_err();
    rig.handle
        .engage(drill().for_at_most(Duration::MAX))
        .unwrap();
    advance(secs(3600)).await;
    let _ = rig.handle.status().to_string();
    rig.handle.clear("on-call", "drill").unwrap();
    rig.calls(1, Say::Busy(429, Duration::MAX)).await;
    rig.trip().await;
}

#[tokio::test(start_paused = true)]
async fn r22_nothing_panics_on_a_wall_clock_out_of_bounds() {
    let far = UNIX_EPOCH + secs(u64::from(u32::MAX) * 1000);
    for odd in [UNIX_EPOCH, UNIX_EPOCH - secs(3600), far] {
        let rig = Rig::built(builder(policy()).wall_clock(odd));
        rig.handle
            .wall_clock_stepped(SystemTime::UNIX_EPOCH - secs(1));
        rig.handle.wall_clock_stepped(odd);
        rig.trip_and_wait().await;
        rig.prove().await;
        let _ = rig.handle.status().to_string();
    }
}

#[test]
fn r22_odd_names_are_only_names() {
    for name in ["", " ", "zuora\n", "ζuora | 💳"] {
        let layer = MaintenanceLayer::new(name);
        assert_eq!(layer.handle().partner(), name);
    }
}
