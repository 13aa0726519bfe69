//! The pauses between the readings of a status page.

use std::time::Duration;

use tower::util::rng::Rng;

use crate::base::jitter::{Seeded, jittered, scaled, seeded};

/// The longest pause after failed readings, unless the interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(900);

/// The share by which a pause may be longer or shorter, so that replicas do not read at the same
/// time.
const JITTER: f64 = 0.2;

/// Computes the pauses between readings.
pub(super) struct Pauses {
    interval: Duration,
    /// The number of failed readings in a row.
    failures: u32,
    random: Seeded,
}

impl Pauses {
    pub(super) fn new(interval: Duration, seed: Option<u64>) -> Self {
        Self {
            interval,
            failures: 0,
            random: seeded(seed),
        }
    }

    pub(super) fn before_the_first(&mut self) -> Duration {
        let part = JITTER * self.random.next_f64();
        scaled(self.interval, part)
    }

    pub(super) fn after_a_word(&mut self) -> Duration {
        self.failures = 0;
        jittered(self.interval, JITTER, &mut self.random)
    }

    pub(super) fn after_an_error(&mut self, asked: Option<Duration>) -> Duration {
        let longest = LONGEST_PAUSE.max(self.interval);
        let growth = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let pause = self.interval.saturating_mul(growth).min(longest);
        let asked = asked.unwrap_or_default().min(longest);
        // Never shorter than the page asks for.
        let asked = scaled(asked, 1.0 + JITTER * self.random.next_f64());
        jittered(pause, JITTER, &mut self.random).max(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(interval: Duration, seed: u64) -> Pauses {
        Pauses::new(interval, Some(seed))
    }

    #[test]
    fn a_pause_is_a_fifth_longer_or_shorter_at_most_and_the_same_for_the_same_seed() {
        let drawn = |seed| {
            let mut pauses = pauses(Duration::from_secs(60), seed);
            (0..1000)
                .map(|_| pauses.after_a_word().as_secs_f64())
                .collect::<Vec<_>>()
        };
        let one = drawn(1);
        assert!(one.iter().all(|pause| (48.0..=72.0).contains(pause)));
        assert!(one.iter().any(|pause| *pause < 50.0) && one.iter().any(|pause| *pause > 70.0));
        assert_eq!(one, drawn(1));
        assert_ne!(one, drawn(2));
    }

    #[test]
    fn a_page_that_fails_is_asked_ever_less_often_until_it_is_read() {
        let minute = Duration::from_secs(60);
        let mut pauses = pauses(minute, 0);
        for minutes in [1, 2, 4, 8, 15, 15, 15] {
            let ratio = pauses.after_an_error(None).as_secs_f64() / (60.0 * f64::from(minutes));
            assert!((0.8..=1.2).contains(&ratio), "{minutes} min: {ratio}");
        }
        for _ in 0..100 {
            assert!(pauses.after_an_error(None) <= minute * 18, "no overflow");
        }
        assert!(pauses.after_a_word() <= minute * 72 / 60);
        assert!(pauses.after_an_error(None) <= minute * 72 / 60, "anew");
    }

    #[test]
    fn what_a_page_asks_for_is_the_least_up_to_a_fifth_more_and_to_the_longest() {
        let minute = Duration::from_secs(60);
        let asked = |secs, seed| {
            let mut pauses = pauses(minute, seed);
            pauses.after_an_error(Some(Duration::from_secs(secs)))
        };
        let mut drawn: Vec<_> = (0..1000).map(|seed| asked(600, seed)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert!(drawn.len() > 900, "spread: {}", drawn.len());
        assert!(drawn[0] >= 10 * minute && drawn[0] < 10 * minute + minute / 6);
        let last = drawn[drawn.len() - 1];
        assert!(last <= 12 * minute && last > 12 * minute - minute / 6);
        for seed in 0..100 {
            assert!((15 * minute..=18 * minute).contains(&asked(1 << 31, seed)));
        }
    }

    #[test]
    fn the_first_reading_comes_within_a_fifth_of_the_interval() {
        let first = |seed| pauses(Duration::from_secs(60), seed).before_the_first();
        let drawn: Vec<_> = (0..1000).map(|seed| first(seed).as_secs_f64()).collect();
        assert!(drawn.iter().all(|pause| (0.0..=12.0).contains(pause)));
        assert!(drawn.iter().any(|pause| *pause < 1.0) && drawn.iter().any(|pause| *pause > 11.0));
        assert_eq!(first(7), first(7));
    }

    #[test]
    fn an_interval_of_any_length_is_an_interval() {
        for interval in [Duration::from_nanos(1), Duration::MAX] {
            let mut pauses = pauses(interval, 0);
            pauses.before_the_first();
            pauses.after_a_word();
            pauses.after_an_error(Some(Duration::MAX));
        }
    }
}
