//! One test per promise of the machine. Some tests keep a fault that the model found.

use super::{super::episodes::TIMELINE_ROWS, *};
use crate::{
    facts::{evidence::Rule, status::ProbingReport},
    policy::{Policy, rate::Rate},
};

fn policy() -> Policy {
    Policy::new(Window::calls(10), Rate::HALF)
        .with_min_calls(4)
        .with_consecutive_failures(2)
        .with_wait(seconds(10))
        .with_wait_growing(2.0, seconds(40))
        .with_jitter(0.0)
        .with_successes_needed(2)
        .with_lease(seconds(30))
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn at(n: u64) -> Moment {
    Moment::ORIGIN.after(seconds(n))
}

fn machine(policy: &Policy) -> Machine {
    Machine::new(Birth {
        partner: "zuora".into(),
        rules: policy.rules().unwrap(),
        wall: WallAnchor::so_that(Moment::ORIGIN, wall()),
        generation: Some(1),
        seed: Some(7),
        switches: Switches::default(),
    })
}

/// A machine that is told what happens.
struct Told {
    machine: Machine,
    /// The calls whose callers wait for the partner.
    waiting: Vec<(Role, u32)>,
}

impl Told {
    fn new(policy: &Policy) -> Self {
        Self {
            machine: machine(policy),
            waiting: Vec::new(),
        }
    }

    fn look(&mut self, moment: Moment) -> Mode {
        let waiting = &self.waiting;
        let waits = |era, slot, _| waiting.contains(&(Role::Probe(slot), era));
        self.machine.tick(moment, Traffic::default(), &waits);
        self.machine.mode()
    }

    fn begin(&mut self) -> (Role, u32) {
        let era = era_bits(self.machine.era());
        let role = self.machine.admit(Asker::Eligible).expect("admitted");
        (role, era)
    }

    fn end(&mut self, (role, era): (Role, u32), ending: Ending) {
        self.machine.settle(role, era, ending);
    }

    fn call(&mut self, verdict: impl Into<Verdict>) {
        let call = self.begin();
        let verdict = verdict.into();
        let took = Duration::ZERO;
        self.end(call, Ending::Judged { verdict, took });
    }

    /// Drops a call whose caller had waited for the partner so long; not at all, if it is zero.
    fn drop_call(&mut self, wait: Duration) {
        let call = self.begin();
        let took = wait;
        let wait = Some(wait).filter(|wait| !wait.is_zero());
        self.end(call, Ending::Dropped { wait, took });
    }

    fn probing(&self) -> ProbingReport {
        self.machine.status().probing.expect("it probes")
    }

    fn rule(&self) -> Rule {
        self.machine.status().evidence.expect("tripped").rule
    }

    /// Returns the events of this name.
    fn events_named(&mut self, name: &str) -> usize {
        let events = self.events();
        events.iter().filter(|(_, named)| named == name).count()
    }

    /// Ends a call whose judge panicked.
    fn unjudged(&mut self) {
        let call = self.begin();
        self.end(call, Ending::Unjudged);
    }

    /// Two failures in a row.
    fn fail(&mut self) {
        self.call(Outcome::Failure);
        self.call(Outcome::Failure);
    }

    fn prove(&mut self) {
        self.call(Outcome::Success);
        self.call(Outcome::Success);
    }

    fn command(&mut self, command: Command) -> Result<bool, CommandError> {
        self.machine.command(command, &signature())
    }

    fn ok(&mut self, command: Command) {
        self.command(command).expect("it may be done");
    }

    fn engage(&mut self) {
        self.ok(super::engage(None, false));
    }

    /// Returns the names of the events and their times by the wall clock.
    fn events(&mut self) -> Vec<(Duration, String)> {
        let events = self.machine.take_events();
        events
            .into_iter()
            .map(|event| {
                let name = format!("{:?}", event.kind);
                let end = name.find([' ', '{']).unwrap_or(name.len());
                let after = event.at.duration_since(wall()).expect("later");
                (after, name[..end].to_owned())
            })
            .collect()
    }

    fn wait(&self) -> Duration {
        self.machine.causes.tripped.as_ref().expect("tripped").wait
    }

    fn shadow(&self) -> Option<Duration> {
        self.machine.status().shadow.map(|shadow| shadow.wait)
    }
}

// ---- entering -------------------------------------------------------------------------------

#[test]
fn a_good_answer_is_never_judged() {
    let mut told = Told::new(&policy().without_consecutive_failures());
    told.call(Outcome::Failure);
    told.call(Outcome::Failure);
    told.call(Outcome::Success);
    // The fourth call completes `min_calls`, and half of the calls failed. But it is a success.
    told.call(Outcome::Success);
    assert_eq!(told.machine.mode(), Mode::Serving);
    told.call(Outcome::Failure);
    assert_eq!(told.machine.mode(), Mode::Maintenance);
}

#[test]
fn a_drop_that_hung_is_a_drop_all_the_same() {
    let policy = policy()
        .without_failure_rate()
        .without_consecutive_failures()
        .with_given_up(4, seconds(1));
    let mut told = Told::new(&policy);
    for _ in 0..3 {
        told.drop_call(seconds(2));
    }
    assert_eq!(told.machine.mode(), Mode::Serving);
    // A fault of the past: the hung call counted as completed, so that this rule did not fire.
    told.drop_call(seconds(5));
    assert_eq!(told.machine.mode(), Mode::Maintenance);
    assert_eq!(
        told.rule(),
        Rule::GivenUp {
            calls: 4,
            longest_wait: seconds(5)
        }
    );
}

#[test]
fn ten_callers_that_give_up_after_more_than_a_second_trip_by_default() {
    for (wait, mode) in [
        (seconds(1) + Duration::from_nanos(1), Mode::Maintenance),
        (seconds(1), Mode::Serving),
    ] {
        let mut told = Told::new(&policy());
        for _ in 0..9 {
            told.drop_call(wait);
            assert_eq!(told.machine.mode(), Mode::Serving);
        }
        told.drop_call(wait);
        assert_eq!(told.machine.mode(), mode, "{wait:?}");
    }
}

#[test]
fn a_caller_that_did_not_wait_is_no_evidence_for_any_limit() {
    let mut told = Told::new(&policy().with_given_up(1, Duration::ZERO));
    told.drop_call(Duration::ZERO);
    assert_eq!(told.machine.mode(), Mode::Serving);
    assert_eq!(told.machine.status().window.given_up, 0);
    told.drop_call(Duration::from_nanos(1));
    assert_eq!(told.machine.mode(), Mode::Maintenance);
}

/// A policy by which three calls given up trip, with a window of time and one of calls.
fn three_given_up() -> [Policy; 2] {
    let time = Window::time(seconds(10));
    [policy(), policy().with_window(time)].map(|policy| {
        policy
            .without_failure_rate()
            .without_consecutive_failures()
            .with_given_up(3, seconds(1))
    })
}

#[test]
fn anything_that_came_from_the_partner_spoils_the_calls_given_up() {
    let spoilers: [fn(&mut Told); 5] = [
        |told| told.call(Outcome::Success),
        |told| told.call(Outcome::Failure),
        |told| told.call(Verdict::from(Outcome::Neutral).with_code(401)),
        // It had an answer to judge.
        |told| told.unjudged(),
        |told| told.machine.heard(0, told.machine.now),
    ];
    for policy in three_given_up() {
        for (index, spoil) in spoilers.iter().enumerate() {
            let mut told = Told::new(&policy);
            told.drop_call(seconds(2));
            spoil(&mut told);
            told.drop_call(seconds(2));
            told.drop_call(seconds(2));
            assert_eq!(told.machine.mode(), Mode::Serving, "spoiler {index}");
        }
    }
}

#[test]
fn what_is_not_the_partner_s_does_not_spoil_the_calls_given_up() {
    let others: [fn(&mut Told); 3] = [
        |told| told.call(Verdict::ours()),
        |told| told.call(Verdict::refused_within()),
        |told| told.drop_call(Duration::ZERO),
    ];
    for policy in three_given_up() {
        for other in others {
            let mut told = Told::new(&policy);
            told.drop_call(seconds(2));
            told.drop_call(seconds(2));
            other(&mut told);
            assert_eq!(told.machine.mode(), Mode::Serving);
            told.drop_call(seconds(2));
            assert_eq!(told.machine.mode(), Mode::Maintenance);
        }
    }
}

#[test]
fn a_sign_of_life_of_the_ramp_counts_in_the_ramp() {
    for is_heard in [false, true] {
        let [policy, _] = three_given_up();
        let mut told = Told::new(
            &policy
                .with_ramp(seconds(100))
                .with_ramp_start(Rate::ratio(1.0).unwrap()),
        );
        told.ok(Command::Trip);
        told.look(at(10));
        told.prove();
        told.drop_call(seconds(2));
        told.drop_call(seconds(2));
        if is_heard {
            told.machine.heard(0, told.machine.now);
        }
        told.drop_call(seconds(2));
        let tripped = told.machine.mode() == Mode::Maintenance;
        assert_eq!(tripped, !is_heard);
    }
}

#[test]
fn a_drop_without_a_wait_is_never_judged() {
    let [_, policy] = three_given_up();
    let mut told = Told::new(&policy);
    told.call(Outcome::Success);
    told.look(at(5));
    for _ in 0..3 {
        told.drop_call(seconds(2));
    }
    // The answer leaves the window. Nothing bad lands by a customer that leaves at once.
    told.look(at(10));
    told.drop_call(Duration::ZERO);
    assert_eq!(told.machine.mode(), Mode::Serving);
    told.drop_call(seconds(2));
    assert_eq!(told.machine.mode(), Mode::Maintenance);
}

#[test]
fn callers_that_give_up_without_a_trip_are_one_warning_an_era() {
    let mut told = Told::new(&policy());
    let early = Duration::from_millis(700);
    let warns = |told: &mut Told| {
        // A run of two failures would trip.
        told.drop_call(Duration::ZERO);
        told.drop_call(early);
        assert_eq!(told.events_named("CallersGaveUp"), 0);
        told.drop_call(early / 2);
        let events = told.machine.take_events();
        let kinds: Vec<_> = events.into_iter().map(|event| event.kind).collect();
        let warning = EventKind::CallersGaveUp {
            calls: 2,
            longest_wait: early,
            hang_limit: seconds(5),
        };
        assert_eq!(kinds, [warning]);
        for _ in 0..5 {
            told.drop_call(early);
        }
        assert_eq!(told.events_named("CallersGaveUp"), 0);
    };
    warns(&mut told);
    told.ok(Command::Reset);
    told.events();
    warns(&mut told);
    told.engage();
    told.ok(Command::Release);
    told.events();
    warns(&mut told);
    assert_eq!(told.machine.mode(), Mode::Serving);
}

#[test]
fn callers_that_give_up_while_the_partner_answers_are_no_warning() {
    let mut told = Told::new(&policy());
    told.call(Outcome::Success);
    for _ in 0..5 {
        told.drop_call(seconds(2));
    }
    assert_eq!(told.events_named("CallersGaveUp"), 0);
}

#[test]
fn a_slow_drop_counts_in_the_total_and_slow_but_not_as_a_failure() {
    let slow = policy().with_slow_calls(seconds(2), Rate::HALF);
    let mut told = Told::new(&slow);
    // The sum of its waits is what it took.
    let call = told.begin();
    let (wait, took) = (None, seconds(3));
    told.end(call, Ending::Dropped { wait, took });
    told.drop_call(seconds(2));
    told.drop_call(seconds(3));
    let status = told.machine.status();
    let window = status.window;
    assert_eq!((window.total, window.slow), (2, 2));
    assert_eq!((window.failed, window.consecutive_failures), (0, 0));
    assert_eq!((status.calls.abandoned, status.calls.failed), (3, 0));
    told.drop_call(seconds(3));
    told.drop_call(seconds(3));
    assert!(matches!(told.rule(), Rule::SlowCalls { slow: 4, .. }));
}

#[test]
fn what_is_not_the_partner_s_counts_apart_whatever_its_verdict_says() {
    for origin in [Origin::Ourselves, Origin::RefusedWithin] {
        let mut told = Told::new(&policy());
        let verdict = Verdict {
            origin,
            ..Verdict::from(Outcome::Failure).with_retry_after(seconds(30))
        };
        for _ in 0..5 {
            told.call(verdict);
        }
        assert_eq!(told.machine.mode(), Mode::Serving);
        let status = told.machine.status();
        let (calls, window) = (status.calls, status.window);
        let counted = (calls.ours, calls.refused_within);
        assert!([(5, 0), (0, 5)].contains(&counted));
        assert_eq!((window.ours, window.refused_within), counted);
        assert_eq!((calls.failed, calls.neutral, window.total), (0, 0, 0));
        // Nor does it ask for anything.
        told.fail();
        assert_eq!(told.wait(), seconds(10));
    }
}

#[test]
fn the_last_code_is_that_of_the_last_failure() {
    let mut told = Told::new(&policy());
    told.call(Verdict::from(Outcome::Failure).with_code(502));
    told.call(Verdict::from(Outcome::Neutral).with_code(401));
    told.call(Verdict::from(Outcome::Failure).with_code(503));
    let evidence = told.machine.status().evidence.expect("tripped");
    assert_eq!(evidence.last_code, Some(503));
    assert_eq!((evidence.total, evidence.failed), (2, 2));
}

// ---- waiting --------------------------------------------------------------------------------

#[test]
fn a_wait_is_over_when_it_has_elapsed() {
    let mut told = Told::new(&policy());
    told.fail();
    assert_eq!(
        told.look(Moment(at(10).0 - 1)),
        Mode::Maintenance,
        "a nanosecond early"
    );
    assert_eq!(told.look(at(10)), Mode::Probing);
}

#[test]
fn later_failures_do_not_move_the_wait() {
    let mut told = Told::new(&policy());
    let late = told.begin();
    told.fail();
    told.look(at(9));
    let verdict = Outcome::Failure.into();
    let took = seconds(9);
    told.end(late, Ending::Judged { verdict, took });
    assert_eq!(told.machine.next_deadline(), at(10));
    assert_eq!(told.machine.status().calls.late, 1);
}

#[test]
fn waits_grow_to_the_cap_and_start_anew_after_a_base_wait_of_serving() {
    let mut told = Told::new(&policy());
    told.fail();
    let mut now = 0;
    for wait in [10, 20, 40, 40] {
        assert_eq!(told.wait(), seconds(wait));
        now += wait;
        assert_eq!(told.look(at(now)), Mode::Probing);
        told.call(Outcome::Failure);
    }
    assert_eq!(told.look(at(now + 40)), Mode::Probing);
    told.prove();
    now += 40;
    // Nine seconds of `Serving` are less than one base wait: the waits do not start again.
    told.look(at(now + 9));
    told.fail();
    assert_eq!(told.wait(), seconds(40));
    now += 49;
    told.look(at(now));
    told.prove();
    told.look(at(now + 10));
    told.fail();
    assert_eq!(told.wait(), seconds(10));
    // That trip counts. A fault of the past: it was forgotten with the trips before it.
    told.look(at(now + 20));
    told.call(Outcome::Failure);
    assert_eq!(told.wait(), seconds(20));
}

#[test]
fn a_trip_beneath_a_hold_finds_the_serving_that_was() {
    for beneath_bypass in [false, true] {
        let mut told = Told::new(&policy());
        told.fail();
        told.look(at(10));
        told.prove();
        if beneath_bypass {
            told.ok(Command::Bypass);
            told.engage();
            told.look(at(20));
            told.ok(Command::EndBypass);
        } else {
            told.look(at(20));
            told.engage();
        }
        assert_eq!(told.machine.mode(), Mode::Maintenance);
        told.ok(Command::Trip);
        assert_eq!(told.wait(), seconds(10));
    }
}

#[test]
fn a_wait_near_the_end_of_time_saturates() {
    let policy = policy()
        .with_wait(Duration::MAX)
        .with_wait_growing(1e300, Duration::MAX)
        .with_jitter(0.9);
    let mut told = Told::new(&policy);
    for _ in 0..5 {
        told.ok(Command::Trip);
        told.ok(Command::ProbeNow);
    }
    told.ok(Command::Trip);
    assert_eq!(told.machine.mode(), Mode::Maintenance);
    assert!(told.machine.next_deadline() > at(1 << 32));
}

#[test]
fn the_same_seed_gives_the_same_waits() {
    let waits = |seed| {
        let rules = policy().with_jitter(0.5).rules().unwrap();
        let mut backoff = Backoff::new(Some(seed));
        [(); 8].map(|()| backoff.next(&rules, Moment::ORIGIN))
    };
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
    for (wait, base) in waits(3).into_iter().zip([10, 20, 40, 40, 40, 40, 40, 40]) {
        assert!(wait >= seconds(base) / 2 && wait <= seconds(base) * 3 / 2);
    }
}

#[test]
fn retry_after_is_the_least_the_next_trip_waits() {
    let mut told = Told::new(&policy());
    told.call(Verdict::from(Outcome::Neutral).with_retry_after(seconds(30)));
    told.look(at(5));
    told.fail();
    assert_eq!(told.machine.next_deadline(), at(30));
}

#[test]
fn retry_after_is_capped_at_the_longest_wait() {
    let mut told = Told::new(&policy());
    told.call(Verdict::from(Outcome::Neutral).with_retry_after(Duration::MAX));
    told.fail();
    assert_eq!(told.machine.next_deadline(), at(40));
}

#[test]
fn an_operator_who_releases_does_not_take_the_partner_s_wish_back() {
    let mut told = Told::new(&policy());
    told.call(Verdict::from(Outcome::Neutral).with_retry_after(seconds(30)));
    // A fault of the past: the end of every episode forgot what the partner asked for.
    told.engage();
    told.ok(Command::Release);
    told.fail();
    assert_eq!(told.machine.next_deadline(), at(30));
}

#[test]
fn a_partner_that_proved_itself_is_not_spared_for_an_old_wish() {
    let mut told = Told::new(&policy());
    told.call(Verdict::from(Outcome::Neutral).with_retry_after(seconds(30)));
    told.ok(Command::Trip);
    told.ok(Command::ProbeNow);
    told.prove();
    told.look(at(10));
    told.fail();
    assert_eq!(told.machine.next_deadline(), at(20));
}

// ---- probing --------------------------------------------------------------------------------

#[test]
fn a_hung_probe_fails_when_its_lease_ends_however_late_somebody_looks() {
    let mut told = Told::new(&policy());
    told.fail();
    told.look(at(10));
    let hung = told.begin();
    told.waiting.push(hung);
    told.events();
    // The lease ends at 40 s and the next wait at 60 s. Then no call comes for 20 s.
    assert_eq!(told.look(at(1000)), Mode::Probing);
    let events = told.events();
    let events: Vec<_> = events
        .iter()
        .map(|(at, name)| (at.as_secs(), &**name))
        .collect();
    assert_eq!(
        events,
        [
            (40, "Tripped"),
            (40, "ModeChanged"),
            (60, "ModeChanged"),
            (80, "WaitingForProbe")
        ]
    );
    let free = |told: &Told| told.machine.status().probing.expect("probing").free;
    assert_eq!(free(&told), 1);
    told.end(
        hung,
        Ending::Dropped {
            wait: Some(seconds(990)),
            took: seconds(990),
        },
    );
    assert_eq!(free(&told), 1);
    assert_eq!(told.machine.status().calls.late, 1);
}

#[test]
fn a_probe_answered_with_retry_after_waits_that_long_and_grows_nothing() {
    let mut told = Told::new(&policy());
    told.fail();
    told.look(at(10));
    told.call(
        Verdict::from(Outcome::Failure)
            .with_code(503)
            .with_retry_after(seconds(3)),
    );
    assert_eq!(told.wait(), seconds(3));
    told.look(at(13));
    told.call(Outcome::Failure);
    assert_eq!(told.wait(), seconds(20));
}

#[test]
fn a_probe_whose_caller_does_not_wait_gives_its_slot_back_when_its_lease_ends() {
    for ending in [Outcome::Failure, Outcome::Success] {
        let mut told = Told::new(&policy());
        told.fail();
        told.look(at(10));
        let read_slowly = told.begin();
        told.events();
        told.look(Moment(at(40).0 - 1));
        assert_eq!(told.probing().free, 0);
        // A fault of the past: a customer that read slowly tripped the layer again.
        assert_eq!(told.look(at(40)), Mode::Probing);
        assert_eq!(told.probing().free, 1);
        assert_eq!(told.probing().resting, 0);
        let before = told.machine.status();
        // Its end changes nothing but its count.
        let verdict = Verdict::from(ending).with_retry_after(seconds(20));
        let took = seconds(3);
        told.end(read_slowly, Ending::Judged { verdict, took });
        let after = told.machine.status();
        assert_eq!(told.events_named("Tripped"), 0);
        assert_eq!((after.mode, after.probing), (before.mode, before.probing));
        assert_eq!((after.window, after.calls.late), (before.window, 0));
        let ended = |calls: CallCounts| calls.failed + calls.succeeded;
        assert_eq!(ended(after.calls), ended(before.calls) + 1);
    }
}

#[test]
fn a_probe_that_gave_its_slot_back_counts_in_no_ramp() {
    let mut told = Told::new(&policy().with_lease(seconds(4)).with_ramp(seconds(100)));
    told.fail();
    told.look(at(10));
    let read_slowly = told.begin();
    told.look(at(14));
    told.prove();
    assert!(told.probing().ramp_share.is_some());
    let (verdict, took) = (Outcome::Failure.into(), seconds(4));
    told.end(read_slowly, Ending::Judged { verdict, took });
    assert_eq!(told.machine.mode(), Mode::Probing);
    assert_eq!(told.machine.status().window.failed, 0);
}

#[test]
fn a_lease_that_ends_for_one_caller_says_nothing_of_the_other() {
    let mut told = Told::new(&policy().with_probes(2));
    told.fail();
    told.look(at(10));
    told.begin();
    told.look(at(11));
    let hung = told.begin();
    told.waiting.push(hung);
    assert_eq!(told.look(at(40)), Mode::Probing);
    assert_eq!(told.probing().in_flight, 1);
    assert_eq!(told.look(at(41)), Mode::Maintenance);
    assert_eq!(told.rule(), Rule::ProbeHung { lease: seconds(30) });
}

#[test]
fn a_slot_rests_after_the_second_answer_in_a_row_that_proves_nothing() {
    let mut told = Told::new(&policy().with_ping_every(seconds(3)));
    told.fail();
    told.look(at(10));
    let refused = || Verdict::from(Outcome::Neutral).with_code(401);
    told.call(refused());
    assert_eq!((told.probing().free, told.probing().resting), (1, 0));
    // A success ends the row.
    told.call(Outcome::Success);
    told.call(refused());
    assert_eq!((told.probing().free, told.probing().resting), (1, 0));
    // What is between the answers does not.
    told.drop_call(Duration::ZERO);
    told.call(Verdict::ours());
    told.call(refused());
    for asker in [Asker::Eligible, Asker::Ping] {
        assert_eq!(told.machine.admit(asker), None);
    }
    told.look(Moment(at(13).0 - 1));
    assert_eq!((told.probing().free, told.probing().resting), (0, 1));
    told.look(at(13));
    assert_eq!((told.probing().free, told.probing().resting), (1, 0));
    // And after each further one.
    told.call(refused());
    assert_eq!(told.probing().free, 0);
}

#[test]
fn only_answers_of_the_partner_rest_a_slot() {
    let ends: [fn(&mut Told); 5] = [
        |told| told.drop_call(Duration::ZERO),
        |told| told.drop_call(seconds(4)),
        |told| told.unjudged(),
        |told| told.call(Verdict::ours().with_code(401)),
        |told| told.call(Verdict::refused_within()),
    ];
    for (index, end) in ends.iter().enumerate() {
        let mut told = Told::new(&policy());
        told.fail();
        told.look(at(10));
        for _ in 0..5 {
            end(&mut told);
            assert_eq!(told.probing().free, 1, "end {index}");
            assert_eq!(told.probing().resting, 0);
        }
        assert_eq!(told.probing().last_code, None);
    }
}

#[test]
fn a_probe_answered_429_without_a_span_repeats_the_wait_and_grows_nothing() {
    let mut told = Told::new(&policy());
    told.fail();
    let limited = || Verdict::from(Outcome::Neutral).with_code(429);
    let mut now = 0;
    for (verdict, wait) in [
        (limited(), 10),
        (limited(), 10),
        (Outcome::Failure.into(), 20),
        (limited().with_retry_after(Duration::ZERO), 20),
        (Outcome::Failure.into(), 40),
    ] {
        now += told.wait().as_secs();
        assert_eq!(told.look(at(now)), Mode::Probing);
        told.call(verdict);
        assert_eq!(told.machine.mode(), Mode::Maintenance);
        assert_eq!(told.wait(), seconds(wait));
        let limits = matches!(told.rule(), Rule::PartnerLimits { .. });
        assert_eq!(limits, verdict.code == Some(429));
    }
}

#[test]
fn an_error_of_ours_with_the_code_429_is_no_wish_of_the_partner() {
    for origin in [Origin::Ourselves, Origin::RefusedWithin] {
        for span in [Duration::ZERO, seconds(20)] {
            let mut told = Told::new(&policy());
            told.fail();
            told.look(at(10));
            let verdict = Verdict::from(Outcome::Neutral).with_code(429);
            let verdict = verdict.with_retry_after(span);
            told.call(Verdict { origin, ..verdict });
            assert_eq!(told.machine.mode(), Mode::Probing);
        }
    }
}

/// The probes without evidence that were told: when, how many, and the last code.
fn without_evidence(told: &mut Told) -> Vec<(u64, u64, Option<u16>)> {
    let events = told.machine.take_events().into_iter();
    let told = events.filter_map(|event| match event.kind {
        EventKind::ProbingWithoutEvidence { ended, last_code } => {
            let after = event.at.duration_since(wall()).expect("later");
            Some((after.as_secs(), ended, last_code))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn a_whole_wait_of_probes_without_evidence_is_told_once_a_wait_with_the_last_code() {
    let mut told = Told::new(&policy());
    told.fail();
    let neutral = |code| Verdict::from(Outcome::Neutral).with_code(code);
    for (now, verdict) in [
        (11, neutral(302)),
        (13, neutral(401)),
        (15, Verdict::ours()),
    ] {
        told.look(at(now));
        told.call(verdict);
    }
    told.look(Moment(at(20).0 - 1));
    assert_eq!(without_evidence(&mut told), []);
    let shown = told.probing();
    assert_eq!(
        (shown.without_evidence, shown.last_code),
        (false, Some(401))
    );
    told.look(at(20));
    assert!(told.probing().without_evidence);
    told.look(at(24));
    told.drop_call(Duration::ZERO);
    // A wait in which no probe ended is not told.
    told.look(at(45));
    assert_eq!(
        without_evidence(&mut told),
        [(20, 3, Some(401)), (30, 1, Some(401))]
    );
    let sentence = told.machine.status().to_string();
    assert!(sentence.contains("proved nothing, last: 401"), "{sentence}");
    // A success is evidence: all begins anew.
    told.call(Outcome::Success);
    let shown = told.probing();
    assert_eq!((shown.without_evidence, shown.last_code), (false, None));
    told.look(at(50));
    told.call(neutral(403));
    told.look(at(60));
    assert_eq!(without_evidence(&mut told), [(55, 1, Some(403))]);
}

#[test]
fn a_verified_release_keeps_what_a_pause_carried() {
    let mut told = Told::new(&policy());
    told.fail();
    told.look(at(10));
    let limited = Verdict::from(Outcome::Neutral).with_code(429);
    told.call(limited.with_retry_after(seconds(60)));
    told.engage();
    told.look(at(15));
    told.ok(Command::ReleaseVerified);
    assert_eq!(told.probing().last_code, Some(429));
    told.look(at(70));
    assert_eq!(without_evidence(&mut told), [(50, 1, Some(429))]);
}

#[test]
fn a_first_probe_after_a_wait_without_any_is_not_yet_a_wait_without_evidence() {
    let mut told = Told::new(&policy());
    told.fail();
    told.look(at(25));
    told.call(Outcome::Neutral);
    assert!(!told.probing().without_evidence);
    told.look(at(40));
    assert_eq!(without_evidence(&mut told), [(35, 1, None)]);
}

#[test]
fn a_lease_that_gives_its_slot_back_is_a_probe_without_evidence() {
    let mut told = Told::new(&policy().with_lease(seconds(4)));
    told.fail();
    told.look(at(10));
    told.begin();
    told.look(at(20));
    assert_eq!(without_evidence(&mut told), [(20, 1, None)]);
}

#[test]
fn a_ramp_lets_in_exactly_its_share() {
    let ramp = policy()
        .with_ramp(seconds(100))
        .with_ramp_start(Rate::percent(10.0).unwrap());
    let mut told = Told::new(&ramp);
    told.fail();
    told.look(at(10));
    told.prove();
    let let_in = |told: &mut Told, calls: u32| {
        let admitted = (0..calls).filter(|_| told.machine.admit(Asker::Ineligible).is_some());
        admitted.count()
    };
    // Exactly a tenth: only the tenth call is let in.
    assert_eq!(let_in(&mut told, 9), 0);
    assert_eq!(let_in(&mut told, 1), 1);
    assert_eq!(let_in(&mut told, 990), 99);
    told.look(at(60));
    assert_eq!(let_in(&mut told, 1000), 550);
    assert_eq!(told.look(Moment(at(110).0 - 1)), Mode::Probing);
    assert_eq!(told.look(at(110)), Mode::Serving);
}

// ---- switches -------------------------------------------------------------------------------

#[test]
fn the_shadow_of_a_trip_out_of_a_long_serving_waits_the_base_wait() {
    let mut told = Told::new(&policy());
    told.fail();
    told.look(at(10));
    told.prove();
    told.ok(Command::DryRun);
    told.look(at(20));
    told.fail();
    // A fault of the past: the trips before that `Serving` lengthened the wait of the shadow.
    assert_eq!(told.shadow(), Some(seconds(10)));
}

#[test]
fn a_shadow_ends_when_a_new_policy_would_not_trip() {
    let retuned = policy()
        .with_failure_rate(Rate::percent(100.0).unwrap())
        .with_consecutive_failures(5)
        .with_min_calls(10);
    for replacement in [retuned, policy().with_window(Window::calls(20))] {
        let mut told = Told::new(&policy());
        told.ok(Command::DryRun);
        told.fail();
        told.look(at(10));
        assert!(told.shadow().is_some(), "a rule would still trip");
        told.events();
        let rules = Box::new(replacement.rules().unwrap());
        // A fault of the past: the shadow stayed open until the next call.
        told.ok(Command::ReplacePolicy(rules));
        assert_eq!(told.shadow(), None);
        let names: Vec<_> = told.events().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["PolicyReplaced", "ShadowEnded"]);
    }
}

#[test]
fn a_shadow_of_calls_given_up_ends_when_something_comes() {
    for window in [Window::calls(10), Window::time(seconds(100))] {
        let mut told = Told::new(&policy().with_window(window));
        told.ok(Command::DryRun);
        for _ in 0..10 {
            told.drop_call(seconds(2));
        }
        told.look(at(10));
        assert!(told.shadow().is_some(), "the rule would still trip");
        told.look(at(12));
        told.machine.heard(0, at(13));
        told.look(at(13));
        assert_eq!(told.shadow(), None);
        let (when, name) = told.events().pop().unwrap();
        assert_eq!((when, &*name), (seconds(13), "ShadowEnded"));
    }
}

#[test]
fn a_shadow_ends_before_a_real_episode_begins() {
    let mut told = Told::new(&policy());
    told.ok(Command::DryRun);
    told.fail();
    told.events();
    told.engage();
    let names: Vec<_> = told.events().into_iter().map(|(_, name)| name).collect();
    assert_eq!(
        names,
        ["HoldEngaged", "ShadowEnded", "EpisodeBegan", "ModeChanged"]
    );
}

// ---- time, eras, generations ----------------------------------------------------------------

#[test]
fn time_never_goes_back() {
    let mut told = Told::new(&policy());
    told.look(at(100));
    told.look(at(50));
    told.fail();
    assert_eq!(told.machine.next_deadline(), at(110));
}

#[test]
fn the_generation_is_the_wall_clock_s_or_one_more() {
    let mut told = Told::new(&policy());
    let recover = |told: &mut Told| {
        told.engage();
        told.ok(Command::Release);
        told.machine.generation()
    };
    let first = recover(&mut told);
    assert_eq!(first, 1_700_000_000_123);
    assert_eq!(recover(&mut told), first + 1);
    told.look(at(60));
    assert_eq!(recover(&mut told), first + 60_000);
    told.machine.wall_clock_reads(SystemTime::UNIX_EPOCH);
    assert_eq!(recover(&mut told), first + 60_001);
}

#[test]
fn the_largest_generation_stays() {
    let mut machine = birth_at(MAX_GENERATION);
    for command in [super::engage(None, false), Command::Release] {
        machine.command(command, &signature()).unwrap();
    }
    assert_eq!(machine.generation(), MAX_GENERATION);
}

fn birth_at(generation: u64) -> Machine {
    Machine::new(Birth {
        partner: "zuora".into(),
        rules: policy().rules().unwrap(),
        wall: WallAnchor::so_that(Moment::ORIGIN, wall()),
        generation: Some(generation),
        seed: None,
        switches: Switches::default(),
    })
}

#[test]
fn a_timeline_is_cut_and_says_so() {
    let mut told = Told::new(&policy());
    told.ok(Command::Trip);
    for _ in 0..50 {
        told.ok(Command::ProbeNow);
        told.ok(Command::Trip);
    }
    let episode = told.machine.status().episode.expect("it goes on");
    assert_eq!(episode.timeline.len(), TIMELINE_ROWS);
    assert_eq!(episode.timeline_cut, 101 - TIMELINE_ROWS as u64);
}
