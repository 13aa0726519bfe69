//! One test per promise of the machine. Some tests keep a fault that the model found.

use super::{super::episodes::TIMELINE_ROWS, *};
use crate::{
    facts::evidence::Rule,
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
}

impl Told {
    fn new(policy: &Policy) -> Self {
        Self {
            machine: machine(policy),
        }
    }

    fn look(&mut self, moment: Moment) -> Mode {
        self.machine.tick(moment, Traffic::default());
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

    fn drop_call(&mut self, quiet: Duration) {
        let call = self.begin();
        self.end(call, Ending::Dropped { quiet });
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
        .without_consecutive_failures();
    let mut told = Told::new(&policy.with_abandoned_all());
    for _ in 0..3 {
        told.drop_call(Duration::ZERO);
    }
    assert_eq!(told.machine.mode(), Mode::Serving);
    // A fault of the past: the hung call counted as completed, so that this rule did not fire.
    told.drop_call(seconds(5));
    assert_eq!(told.machine.mode(), Mode::Maintenance);
    let evidence = told.machine.status().evidence.expect("tripped");
    assert!(matches!(
        evidence.rule,
        Rule::AbandonedAll { abandoned: 4, .. }
    ));
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
            quiet: seconds(990),
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
