//! The windows by their definition, and against a list that forgets nothing.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    counts::{Counts, Landing, Wait, WaitLength},
    window::Tally,
    window_naive::Naive,
};
use crate::{
    base::moment::{Moment, nanos},
    policy::window::Window,
};

const OK: Landing = Landing::Success { slow: false };
const SLOW: Landing = Landing::Success { slow: true };
const FAILED: Landing = Landing::Failure { slow: false };
const SLOW_FAILED: Landing = Landing::Failure { slow: true };
const HUNG: Landing = Landing::Hung {
    slow: false,
    wait: LONG,
};
const NEUTRAL: Landing = Landing::Neutral { code: 401 };
const GIVEN_UP: Landing = Landing::Abandoned {
    slow: false,
    wait: LONG,
};
const SLOW_DROP: Landing = Landing::Abandoned {
    slow: true,
    wait: SHORT,
};
const LEFT_EARLY: Landing = Landing::Abandoned {
    slow: false,
    wait: SHORT,
};
const LEFT_AT_ONCE: Landing = Landing::Abandoned {
    slow: false,
    wait: NO_WAIT,
};

const LONG: Wait = Wait {
    length: WaitLength::Long,
    millis: 2_000,
};
const SHORT: Wait = Wait {
    length: WaitLength::Short,
    millis: 700,
};
const NO_WAIT: Wait = Wait {
    length: WaitLength::None,
    millis: 0,
};

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
        assert_eq!((counts.total(), counts.failed, counts.slow), (4, 2, 2));
        assert_eq!(counts.successes, 2);
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
fn what_gives_no_evidence_neither_extends_nor_breaks_a_run() {
    let without = [
        NEUTRAL,
        Landing::Ours,
        Landing::RefusedWithin,
        GIVEN_UP,
        LEFT_EARLY,
        LEFT_AT_ONCE,
    ];
    for landing in without {
        for counts in both(&[FAILED, landing, FAILED, landing]) {
            assert_eq!((counts.run, counts.total()), (2, 2), "{landing:?}");
        }
        for counts in both(&[landing, landing]) {
            assert_eq!((counts.total(), counts.failed, counts.slow), (0, 0, 0));
        }
    }
}

#[test]
fn a_slow_drop_is_in_the_total_and_slow_but_neither_failed_nor_in_the_run() {
    for counts in both(&[FAILED, SLOW_DROP, FAILED, SLOW_DROP]) {
        assert_eq!((counts.total(), counts.slow, counts.slow_drops), (4, 2, 2));
        assert_eq!((counts.failed, counts.run, counts.successes), (2, 2, 0));
    }
    for counts in both(&[FAILED, OK, SLOW_DROP]) {
        assert_eq!(counts.run, 0);
    }
    // In a window of calls it takes a place: the failure before it has left.
    let counts = after(calls(2), &[FAILED, SLOW_DROP, SLOW_DROP]);
    assert_eq!((counts.total(), counts.failed, counts.run), (2, 0, 0));
    let counts = after(calls(2), &[SLOW_DROP, OK, OK]);
    assert_eq!((counts.total(), counts.slow, counts.slow_drops), (2, 0, 0));
}

#[test]
fn a_call_that_hung_is_a_failure_and_a_call_given_up() {
    let slow = Landing::Hung {
        slow: true,
        wait: Wait {
            millis: 6_000,
            ..LONG
        },
    };
    for counts in both(&[GIVEN_UP, HUNG, slow]) {
        assert_eq!((counts.total(), counts.failed, counts.slow), (2, 2, 1));
        assert_eq!(counts.run, 2);
        assert_eq!((counts.given_up, counts.longest_wait), (3, 6_000));
        assert!(!counts.answered);
    }
}

#[test]
fn only_a_caller_that_waited_long_has_given_up() {
    for counts in both(&[LEFT_AT_ONCE, LEFT_EARLY, LEFT_EARLY, GIVEN_UP]) {
        assert_eq!((counts.given_up, counts.left_early), (1, 2));
        assert_eq!(counts.longest_wait, 2_000);
    }
    assert_eq!(both(&[LEFT_AT_ONCE]), [Counts::default(); 2]);
}

#[test]
fn anything_that_came_from_the_partner_is_an_answer() {
    for landing in [OK, FAILED, NEUTRAL] {
        for counts in both(&[GIVEN_UP, landing, GIVEN_UP]) {
            assert!(counts.answered, "{landing:?}");
        }
    }
    for landing in [HUNG, GIVEN_UP, Landing::Ours, Landing::RefusedWithin] {
        for counts in both(&[GIVEN_UP, landing]) {
            assert!(!counts.answered, "{landing:?}");
        }
    }
    for mut tally in [calls(100), time(100, 10)] {
        tally.record(GIVEN_UP, Moment(0));
        tally.hear(0);
        assert!(tally.counts(Moment(0)).answered, "a sign of life");
    }
}

#[test]
fn errors_of_our_own_neither_count_nor_spoil_the_calls_given_up() {
    let landings = [GIVEN_UP, Landing::Ours, Landing::RefusedWithin, GIVEN_UP];
    for counts in both(&landings) {
        assert_eq!((counts.given_up, counts.answered), (2, false));
        assert_eq!((counts.ours, counts.refused_within), (1, 1));
    }
}

#[test]
fn a_window_of_calls_counts_the_calls_given_up_since_something_came() {
    let counts = after(calls(3), &[GIVEN_UP, NEUTRAL, GIVEN_UP, LEFT_EARLY]);
    assert_eq!((counts.given_up, counts.left_early), (1, 1));
    assert!(counts.answered);
    // A whole window of them hides what came before.
    let counts = after(calls(3), &[OK, GIVEN_UP, HUNG]);
    assert_eq!((counts.given_up, counts.answered), (2, true));
    let counts = after(calls(3), &[OK, GIVEN_UP, HUNG, LEFT_EARLY]);
    assert_eq!((counts.given_up, counts.answered), (2, false));

    let mut tally = calls(3);
    tally.record(GIVEN_UP, Moment(0));
    tally.hear(0);
    assert_eq!(tally.counts(Moment(0)).given_up, 0);
}

#[test]
fn a_window_of_calls_counts_the_others_since_a_call_was_judged() {
    let others = [NEUTRAL, Landing::Ours, Landing::RefusedWithin];
    let numbers = |counts: Counts| {
        (
            counts.neutral,
            counts.neutral_code,
            counts.ours,
            counts.refused_within,
        )
    };
    let counts = after(calls(3), &others);
    assert_eq!(numbers(counts), (1, 401, 1, 1));
    for judged in [OK, FAILED, HUNG, SLOW_DROP] {
        let landings = [&others[..], &[judged]].concat();
        assert_eq!(numbers(after(calls(3), &landings)), (0, 0, 0, 0));
        assert_eq!(numbers(after(time(10, 2), &landings)), (1, 401, 1, 1));
    }
    for other in [GIVEN_UP, LEFT_EARLY, LEFT_AT_ONCE] {
        let landings = [&others[..], &[other]].concat();
        assert_eq!(numbers(after(calls(3), &landings)), (1, 401, 1, 1));
    }
}

#[test]
fn the_code_is_that_of_the_last_neutral_answer() {
    let code = |code| Landing::Neutral { code };
    for counts in both(&[code(401), code(302), Landing::Ours]) {
        assert_eq!((counts.neutral, counts.neutral_code), (2, 302));
    }
    let mut tally = time(10, 2);
    tally.record(code(401), Moment(0));
    tally.record(OK, Moment(5));
    assert_eq!(tally.counts(Moment(5)).neutral_code, 401);
    // The last of them has no code.
    tally.record(code(0), Moment(6));
    assert_eq!(tally.counts(Moment(6)).neutral_code, 0);
}

#[test]
fn a_sign_of_life_leaves_with_its_bucket() {
    let mut tally = time(10, 2);
    tally.record(GIVEN_UP, Moment(12));
    // Told late: the sign of life came in the bucket before.
    tally.hear(1);
    assert!(tally.counts(Moment(14)).answered);
    assert_eq!(tally.next_departure(Moment(14)), Some(Moment(15)));
    let counts = tally.counts(Moment(15));
    assert_eq!((counts.given_up, counts.answered), (1, false));
    // Told so late that another bucket stands in its place: that one stays.
    tally.record(GIVEN_UP, Moment(20));
    tally.hear(0);
    let counts = tally.counts(Moment(20));
    assert_eq!((counts.given_up, counts.answered), (1, false));
}

#[test]
fn a_window_of_calls_drops_the_oldest_as_the_newest_comes() {
    let mut tally = calls(3);
    for landing in [SLOW_FAILED, OK, SLOW] {
        tally.record(landing, Moment(0));
    }
    let full = tally.counts(Moment(0));
    assert_eq!((full.total(), full.failed, full.slow), (3, 1, 2));
    tally.record(FAILED, Moment(0));
    let slid = tally.counts(Moment(0));
    assert_eq!((slid.total(), slid.failed, slid.slow), (3, 1, 1));
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
            NEUTRAL,
            GIVEN_UP,
            SLOW_DROP,
            HUNG,
            Landing::Ours,
            Landing::RefusedWithin,
        ] {
            tally.record(landing, Moment(5));
        }
        tally.clear();
        assert_eq!(tally.counts(Moment(5)), Counts::default());
        assert_eq!(tally.next_departure(Moment(5)), None);
        tally.record(OK, Moment(5));
        let expected = after(calls(2), &[OK]);
        assert_eq!(tally.counts(Moment(5)), expected);
    }
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

fn wait() -> impl Strategy<Value = Wait> {
    let length = prop_oneof![
        1 => Just(WaitLength::None),
        1 => Just(WaitLength::Short),
        2 => Just(WaitLength::Long),
    ];
    (length, 0_u32..=9).prop_map(|(length, millis)| Wait { length, millis })
}

fn landing() -> impl Strategy<Value = Landing> {
    let slow = any::<bool>;
    prop_oneof![
        3 => slow().prop_map(|slow| Landing::Success { slow }),
        4 => slow().prop_map(|slow| Landing::Failure { slow }),
        3 => (slow(), wait()).prop_map(|(slow, wait)| Landing::Hung { slow, wait }),
        2 => (0_u16..=2).prop_map(|code| Landing::Neutral { code }),
        1 => Just(Landing::Ours),
        1 => Just(Landing::RefusedWithin),
        5 => (prop::bool::weighted(0.3), wait())
            .prop_map(|(slow, wait)| Landing::Abandoned { slow, wait }),
    ]
}

/// What comes from the partner or from its callers.
#[derive(Debug, Clone, Copy)]
enum Comes {
    Nothing,
    Landing(Landing),
    /// A sign of life so many buckets ago: the lock holder that notes it is late.
    SignOfLife(u64),
    /// Successes that were counted without the lock, so many buckets ago.
    Successes(u64, u64),
}

fn comes() -> impl Strategy<Value = Comes> {
    prop_oneof![
        4 => Just(Comes::Nothing),
        8 => landing().prop_map(Comes::Landing),
        1 => (0_u64..=3).prop_map(Comes::SignOfLife),
        1 => (0_u64..=3, 1_u64..=3).prop_map(|(ago, number)| Comes::Successes(ago, number)),
    ]
}

/// A stretch of steps in which nothing comes from the partner, so that windows fill with calls
/// given up.
fn silence() -> impl Strategy<Value = Comes> {
    prop_oneof![
        1 => Just(Comes::Landing(Landing::Ours)),
        2 => wait().prop_map(|wait| Comes::Landing(Landing::Hung { slow: false, wait })),
        6 => (any::<bool>(), wait())
            .prop_map(|(slow, wait)| Comes::Landing(Landing::Abandoned { slow, wait })),
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
        steps in prop::collection::vec((gap(), comes(), silence(), 0_u8..40), 0..120),
        silent_from in 0_usize..200,
    ) {
        let mut tally = Tally::new(window);
        let mut naive = Naive::new(window);
        let length = match window {
            Window::Time { length, .. } => nanos(length),
            Window::Calls(_) => 10,
        };
        prop_assert_eq!(tally.bucket_width().map(u128::from), naive.width());
        let width = tally.bucket_width().unwrap_or(1);
        let mut now = Moment(0);
        for (step, ((nanos, windows), comes, silence, clears)) in steps.into_iter().enumerate() {
            let gap = length.saturating_mul(windows).saturating_add(nanos);
            let gap = if windows > 0 { gap.saturating_sub(1) } else { gap };
            now = Moment(now.0.saturating_add(gap).min(u64::MAX - 1));
            match if step < silent_from { comes } else { silence } {
                Comes::Nothing => {}
                Comes::Landing(landing) => {
                    tally.record(landing, now);
                    naive.record(landing, now);
                }
                Comes::SignOfLife(ago) => {
                    let index = (now.0 / width).saturating_sub(ago);
                    tally.hear(index);
                    naive.hear(Moment(index * width));
                }
                Comes::Successes(ago, number) => {
                    let index = (now.0 / width).saturating_sub(ago);
                    tally.add_successes(index, number);
                    // A window of calls gets its successes one by one only.
                    if naive.width().is_some() {
                        naive.add_successes(Moment(index * width), number);
                    }
                }
            }
            if clears == 0 {
                tally.clear();
                naive.clear();
            }
            prop_assert_eq!(tally.counts(now), naive.counts(now));
            let departure = tally.next_departure(now).map(|at| u128::from(at.0));
            let expected = naive.next_departure(now).map(|at| at.min(u128::from(u64::MAX)));
            prop_assert_eq!(departure, expected);
        }
    }
}
