//! The windows by their definition, and against a list that forgets nothing.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    counts::{Counts, Landing},
    window::Tally,
    window_naive::{Naive, all_abandoned},
};
use crate::{
    base::moment::{Moment, nanos},
    policy::window::Window,
};

const OK: Landing = Landing::Success { slow: false };
const SLOW: Landing = Landing::Success { slow: true };
const FAILED: Landing = Landing::Failure { slow: false };
const SLOW_FAILED: Landing = Landing::Failure { slow: true };
const HUNG: Landing = Landing::Hung { slow: false };

fn calls(size: u32) -> Tally {
    Tally::new(Window::Calls(size))
}

fn time(length: u64, buckets: u32) -> Tally {
    let length = Duration::from_nanos(length);
    Tally::new(Window::Time { length, buckets })
}

fn after(mut tally: Tally, landings: &[Landing]) -> Counts {
    for landing in landings {
        tally.record(*landing, Moment(0));
    }
    tally.counts(Moment(0))
}

fn both(landings: &[Landing]) -> [Counts; 2] {
    [after(calls(100), landings), after(time(100, 10), landings)]
}

// ---- one definition a test
// ------------------------------------------------------------------------

#[test]
fn a_new_window_is_empty() {
    assert_eq!(both(&[]), [Counts::default(); 2]);
}

#[test]
fn successes_failures_and_slow_calls_are_counted() {
    for counts in both(&[OK, SLOW, FAILED, SLOW_FAILED]) {
        assert_eq!((counts.total, counts.failed, counts.slow), (4, 2, 2));
    }
}

#[test]
fn a_success_ends_a_run_and_a_failure_extends_it() {
    for counts in both(&[FAILED, FAILED, OK, FAILED, SLOW_FAILED, FAILED]) {
        assert_eq!(counts.run, 3);
    }
    for counts in both(&[FAILED, SLOW]) {
        assert_eq!(counts.run, 0);
    }
}

#[test]
fn what_is_neutral_or_given_up_neither_extends_nor_breaks_a_run() {
    for counts in both(&[FAILED, Landing::Neutral, FAILED, Landing::Abandoned]) {
        assert_eq!((counts.run, counts.total), (2, 2));
    }
}

#[test]
fn what_is_neutral_or_given_up_is_no_outcome_of_the_rate() {
    for counts in both(&[Landing::Neutral, Landing::Abandoned]) {
        assert_eq!((counts.total, counts.failed, counts.slow), (0, 0, 0));
    }
}

#[test]
fn a_call_that_hung_and_was_given_up_is_a_failure_and_did_not_come_to_its_end() {
    for counts in both(&[Landing::Abandoned, HUNG, Landing::Hung { slow: true }]) {
        assert_eq!((counts.total, counts.failed, counts.slow), (2, 2, 1));
        assert_eq!(counts.run, 2);
        assert_eq!((counts.abandoned, counts.completed), (3, 0));
    }
}

#[test]
fn a_window_of_calls_drops_the_oldest_as_the_newest_comes() {
    let mut tally = calls(3);
    for landing in [SLOW_FAILED, OK, SLOW] {
        tally.record(landing, Moment(0));
    }
    let full = tally.counts(Moment(0));
    assert_eq!((full.total, full.failed, full.slow), (3, 1, 2));
    tally.record(FAILED, Moment(0));
    let slid = tally.counts(Moment(0));
    assert_eq!((slid.total, slid.failed, slid.slow), (3, 1, 1));
}

#[test]
fn a_window_of_calls_never_ages() {
    let mut tally = calls(3);
    tally.record(FAILED, Moment(0));
    let old = Moment(u64::MAX - 1);
    assert_eq!(tally.counts(old).failed, 1);
    assert_eq!(tally.next_departure(old), None);
}

#[test]
fn a_run_is_counted_within_the_window() {
    assert_eq!(after(calls(3), &[FAILED; 5]).run, 3);

    let mut tally = time(10, 2);
    tally.record(FAILED, Moment(4));
    tally.record(FAILED, Moment(5));
    assert_eq!(tally.counts(Moment(9)).run, 2);
    // The first bucket began at 0.
    assert_eq!(tally.counts(Moment(10)).run, 1);
}

#[test]
fn a_bucket_leaves_when_its_start_is_a_whole_window_old() {
    let mut tally = time(10, 2);
    tally.record(FAILED, Moment(9)); // the bucket of 5 to 10
    assert_eq!(tally.next_departure(Moment(9)), Some(Moment(15)));
    assert_eq!(tally.counts(Moment(14)).failed, 1);
    assert_eq!(tally.counts(Moment(15)).failed, 0);
    assert_eq!(tally.next_departure(Moment(15)), None);
}

#[test]
fn a_window_of_one_bucket_forgets_all_at_once() {
    let mut tally = time(10, 1);
    tally.record(FAILED, Moment(0));
    tally.record(FAILED, Moment(9));
    assert_eq!(tally.counts(Moment(9)).failed, 2);
    assert_eq!(tally.counts(Moment(10)).failed, 0);
}

#[test]
fn a_ring_that_went_round_shows_nothing_old() {
    let mut tally = time(10, 10);
    tally.record(FAILED, Moment(3));
    for round in 1..100 {
        assert_eq!(tally.counts(Moment(3 + 12 * round)), Counts::default());
        assert_eq!(tally.counts(Moment(3 + 13 * round)), Counts::default());
    }
}

#[test]
fn a_cleared_window_is_as_new() {
    for mut tally in [calls(2), time(10, 3)] {
        for landing in [
            SLOW_FAILED,
            FAILED,
            Landing::Neutral,
            Landing::Abandoned,
            HUNG,
        ] {
            tally.record(landing, Moment(5));
        }
        tally.clear();
        assert_eq!(tally.counts(Moment(5)), Counts::default());
        assert_eq!(tally.next_departure(Moment(5)), None);
        tally.record(OK, Moment(5));
        assert_eq!(tally.counts(Moment(5)).total, 1);
    }
}

#[test]
fn a_call_that_completes_speaks_against_the_drops_of_its_window() {
    for counts in both(&[Landing::Abandoned, Landing::Neutral, Landing::Abandoned]) {
        assert!(!all_abandoned(counts, 1));
    }
    // A window of two calls no longer shows the one that completed.
    let counts = after(
        calls(2),
        &[OK, Landing::Abandoned, Landing::Abandoned, HUNG],
    );
    assert!(all_abandoned(counts, 2));
}

#[test]
fn a_window_as_long_as_time_itself_counts() {
    let mut tally = Tally::new(Window::Time {
        length: Duration::MAX,
        buckets: 7,
    });
    let late = Moment(u64::MAX - 1);
    tally.record(FAILED, Moment(1));
    tally.record(FAILED, late);
    assert_eq!(tally.counts(late).run, 2);
}

// ---- against a list
// -------------------------------------------------------------------------------

fn window() -> impl Strategy<Value = Window> {
    let time = |length: u64, buckets: u32| Window::Time {
        length: Duration::from_nanos(length.max(u64::from(buckets))),
        buckets,
    };
    prop_oneof![
        (1_u32..=6).prop_map(Window::Calls),
        (30_u32..=70).prop_map(Window::Calls),
        // Short enough that the buckets seldom divide it.
        (1_u64..=40, 1_u32..=12).prop_map(move |(length, buckets)| time(length, buckets)),
        (1_u64..=u64::MAX / 2, 1_u32..=3600)
            .prop_map(move |(length, buckets)| time(length, buckets)),
    ]
}

fn landing() -> impl Strategy<Value = Landing> {
    prop_oneof![
        3 => any::<bool>().prop_map(|slow| Landing::Success { slow }),
        4 => any::<bool>().prop_map(|slow| Landing::Failure { slow }),
        1 => any::<bool>().prop_map(|slow| Landing::Hung { slow }),
        1 => Just(Landing::Neutral),
        3 => Just(Landing::Abandoned),
    ]
}

/// The time to the next step, in nanoseconds and in windows.
fn gap() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        4 => Just((0, 0)),
        4 => (1_u64..=5).prop_map(|nanos| (nanos, 0)),
        2 => (1_u64..=40).prop_map(|nanos| (nanos, 0)),
        // A window later, and a nanosecond more or less.
        1 => (0_u64..=2).prop_map(|nanos| (nanos, 1)),
        1 => (0_u64..=100, 2_u64..=50),
    ]
}

proptest! {
    #![proptest_config(crate::base::property_cases::cases(400))]

    #[test]
    fn a_window_holds_what_a_list_read_by_its_definition_holds(
        window in window(),
        steps in prop::collection::vec((gap(), landing(), any::<bool>(), 0_u8..40), 0..120),
    ) {
        let mut tally = Tally::new(window);
        let mut naive = Naive { window, landed: Vec::new() };
        let length = match window {
            Window::Time { length, .. } => nanos(length),
            Window::Calls(_) => 10,
        };
        let mut now = Moment(0);
        for ((nanos, windows), landing, lands, clears) in steps {
            let gap = length.saturating_mul(windows).saturating_add(nanos);
            let gap = if windows > 0 { gap.saturating_sub(1) } else { gap };
            now = Moment(now.0.saturating_add(gap).min(u64::MAX - 1));
            if lands {
                tally.record(landing, now);
                naive.landed.push((now, landing));
            }
            if clears == 0 {
                tally.clear();
                naive.landed.clear();
            }
            let (counts, expected) = (tally.counts(now), naive.counts(now));
            prop_assert_eq!(
                (counts.total, counts.failed, counts.slow, counts.run),
                (expected.total, expected.failed, expected.slow, expected.run)
            );
            for least in 1..=6 {
                prop_assert_eq!(all_abandoned(counts, least), all_abandoned(expected, least));
            }
            let departure = tally.next_departure(now).map(|at| u128::from(at.0));
            let expected = naive.next_departure(now).map(|at| at.min(u128::from(u64::MAX)));
            prop_assert_eq!(departure, expected);
        }
    }
}
