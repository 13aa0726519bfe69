//! Models of what holds in every interleaving: the published word, the probe slots, the one signal.
//!
//! ```sh
//! RUSTFLAGS='--cfg maintenance_loom' cargo test --release --lib loom_
//! ```
//!
//! `.ci/break-loom` breaks the code that the models check, one mutant at a time, and shows that
//! they fail.
//!
//! Loom explores what goes through `crate::base::loom_or_std`: the word, the deadline, the lock.
//! tokio's and the standard library's primitives are opaque to it, which is sound as long as no
//! thread blocks in them across a switch; they order nothing that is asserted here.

use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{for_calls::Admitted, *};
use crate::{
    base::clock::WallAnchor,
    facts::{
        extras::Extras,
        mode::{Mode, Switches},
        outcome::Outcome,
    },
    machine::{Asker, Command, Engagement, Passing, Role, Signature},
    operator::subscribe::CacheBusts,
    policy::{Policy, rate::Rate, window::Window},
    state::root::Root,
};

/// Runs `model` in every interleaving, unless `LOOM_MAX_PREEMPTIONS` bounds them.
fn check(model: impl Fn() + Send + Sync + 'static) {
    loom::model(model);
}

const WAIT: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Moment {
    Moment::ORIGIN.after(Duration::from_secs(seconds))
}

fn policy() -> Policy {
    Policy::new(Window::calls(10), Rate::HALF)
        .with_wait(WAIT)
        .with_jitter(0.0)
}

fn shared(policy: &Policy) -> Arc<Root> {
    Clock::stand_at(Moment::ORIGIN);
    let wall = std::time::UNIX_EPOCH + Duration::from_secs(1);
    Root::new(Parts {
        birth: Birth {
            partner: "zuora".into(),
            rules: policy.rules().expect("it makes sense"),
            wall: WallAnchor::so_that(Moment::ORIGIN, wall),
            generation: Some(1),
            seed: Some(1),
            switches: Switches::default(),
        },
        clock: Clock::start(),
        extras: Extras::default(),
        exemptions: Table::default(),
        named: false,
        tags: Arc::new([]),
        urls: Arc::new([]),
    })
}

/// Makes a tripped layer at the instant at which its wait ends. No caller has looked yet.
fn wait_just_over(policy: &Policy) -> Arc<Root> {
    let shared = shared(policy);
    command(&shared, Command::Trip);
    Clock::stand_at(at(10));
    shared
}

fn command(shared: &Shared, command: Command) {
    let by = Signature::new("on-call", "drill").expect("a valid signature");
    // A command that finds nothing to do is part of some of the models.
    let _ = shared.locked(|machine| machine.command(command, &by));
}

fn hold() -> Command {
    hold_for(None, Passing::Nothing)
}

fn hold_for(expiry: Option<Duration>, passing: Passing) -> Command {
    Command::Engage(Engagement {
        expiry,
        passing,
        message: None,
    })
}

fn settle(shared: &Shared, (role, era): Admitted, outcome: Outcome) {
    shared.judged(role, era, outcome.into(), None, 0);
}

fn recoveries(shared: &Shared) -> usize {
    let journal = shared.journal();
    (1..journal.next_number())
        .filter_map(|number| journal.event(number))
        .filter(|event| matches!(event.kind, EventKind::Recovered { .. }))
        .count()
}

/// Returns the probes in flight and the successes in a row; `None` if it is not probing.
fn trials(shared: &Shared) -> Option<(u32, u32)> {
    let probing = shared.status().probing?;
    Some((probing.in_flight, probing.successes))
}

// ---- the published word ------------------------------------------------------------------------

#[test]
fn whoever_sees_a_word_sees_its_deadline_or_a_later_one() {
    check(|| {
        let word = |era| Word::new(Op::Refuse, era, 1);
        let gate = Arc::new(Gate::new(word(1)));
        let writer = {
            let gate = gate.clone();
            thread::spawn(move || {
                gate.publish_while_locked(word(2), Moment(2));
                gate.publish_while_locked(word(3), Moment(3));
            })
        };
        let era = u64::from(gate.read().era());
        let published = gate.deadline().known().map_or(1, |deadline| deadline.0);
        assert!(
            published >= era,
            "era {era} beside the deadline of {published}"
        );
        writer.join().unwrap();
    });
}

#[test]
fn a_read_never_passes_by_the_deadline_of_the_hold_before_it() {
    check(|| {
        let shared = shared(&policy());
        // No expiry: the deadline is "never".
        command(&shared, hold_for(None, Passing::Reads));
        let done = Arc::new(AtomicBool::new(false));
        let operator = {
            let (shared, done) = (shared.clone(), done.clone());
            thread::spawn(move || {
                command(&shared, Command::Release);
                command(&shared, hold_for(Some(WAIT), Passing::Reads));
                // The flag says that the clock may move. It orders nothing.
                done.store(true, Ordering::Relaxed);
            })
        };
        // Eras: 1 serving, 2 the first hold, 3 serving, 4 the second hold.
        if done.load(Ordering::Relaxed) && shared.gate.read().era() == 4 {
            Clock::stand_at(at(10));
            let passed = shared.read_only();
            assert_eq!(passed, None, "passed after the hold is over");
        }
        operator.join().unwrap();
    });
}

// ---- the probe slots ---------------------------------------------------------------------------

fn askers_for_one_slot(askers: usize) {
    check(move || {
        let shared = wait_just_over(&policy().with_probes(1));
        let others: Vec<_> = (1..askers)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || shared.admit(Asker::Eligible).is_ok())
            })
            .collect();
        let mine = shared.admit(Asker::Eligible).is_ok();
        let theirs = others
            .into_iter()
            .map(|other| other.join().expect("no panic"));
        let admitted = theirs.chain([mine]).filter(|admitted| *admitted).count();
        // One of them found the lock free first, and the slot with it.
        assert_eq!(admitted, 1);
        assert_eq!(trials(&shared), Some((1, 0)));
        let calls = shared.status().calls;
        assert_eq!((calls.admitted, calls.refused), (1, askers as u64 - 1));
    });
}

#[test]
fn of_two_that_ask_for_one_slot_one_is_admitted() {
    askers_for_one_slot(2);
}

#[test]
fn of_three_that_ask_for_one_slot_one_is_admitted() {
    askers_for_one_slot(3);
}

#[test]
fn a_failed_try_is_a_refusal_and_waits_for_nobody() {
    check(|| {
        let shared = wait_just_over(&policy());
        // The thread that moves the state takes as long as all of this: waiting for it is a
        // deadlock.
        let mover = shared.machine.lock().unwrap();
        let asker = {
            let shared = shared.clone();
            thread::spawn(move || {
                (
                    shared.admit(Asker::Eligible).is_ok(),
                    shared.pass(Asker::Eligible).is_ok(),
                )
            })
        };
        assert_eq!(asker.join().unwrap(), (false, false));
        drop(mover);
    });
}

#[test]
fn a_probe_that_outlived_its_lease_is_not_let_through_by_a_failed_try() {
    check(|| {
        let shared = wait_just_over(&policy().with_lease(WAIT));
        let (role, era) = shared.admit(Asker::Eligible).unwrap();
        Clock::stand_at(at(20));
        let mover = shared.machine.lock().unwrap();
        let waiting = {
            let shared = shared.clone();
            thread::spawn(move || shared.lasts(era, role))
        };
        assert!(!waiting.join().unwrap());
        drop(mover);
        assert!(!shared.lasts(era, role));
    });
}

#[test]
fn a_failed_try_while_serving_refuses_nobody() {
    check(|| {
        let shared = shared(&policy());
        // Under bypass the expiry of a hold is a deadline in Serving.
        command(&shared, Command::Bypass);
        command(&shared, hold_for(Some(WAIT), Passing::Nothing));
        Clock::stand_at(at(10));
        let mover = shared.machine.lock().unwrap();
        let asker = {
            let shared = shared.clone();
            thread::spawn(move || {
                let admitted = shared.admit(Asker::Ineligible);
                (
                    matches!(admitted, Ok((Role::Plain, 1))),
                    shared.pass(Asker::Ineligible).is_ok(),
                )
            })
        };
        assert_eq!(asker.join().unwrap(), (true, true));
        drop(mover);
    });
}

#[test]
fn a_settled_probe_and_one_that_asks_never_exceed_what_is_needed() {
    check(|| {
        let shared = wait_just_over(&policy().with_probes(1).with_successes_needed(2));
        let first = shared.admit(Asker::Eligible).unwrap();
        let settler = {
            let shared = shared.clone();
            thread::spawn(move || settle(&shared, first, Outcome::Success))
        };
        let asker = {
            let shared = shared.clone();
            thread::spawn(move || shared.admit(Asker::Eligible).is_ok())
        };
        let (in_flight, successes) = trials(&shared).expect("one more is needed");
        assert!(in_flight <= 1 && in_flight + successes <= 2);
        settler.join().unwrap();
        let admitted = asker.join().unwrap();
        assert_eq!(trials(&shared), Some((u32::from(admitted), 1)));
    });
}

#[test]
fn four_that_ask_for_two_slots_while_one_is_given_back() {
    check(|| {
        let shared = wait_just_over(&policy().with_probes(2).with_successes_needed(4));
        let first = shared.admit(Asker::Eligible).unwrap();
        let settler = {
            let shared = shared.clone();
            thread::spawn(move || settle(&shared, first, Outcome::Neutral))
        };
        let askers = [(); 2].map(|()| {
            let shared = shared.clone();
            thread::spawn(move || shared.admit(Asker::Eligible).is_ok())
        });
        let mut admitted = u32::from(shared.admit(Asker::Eligible).is_ok());
        settler.join().unwrap();
        for asker in askers {
            admitted += u32::from(asker.join().unwrap());
        }
        assert_eq!(trials(&shared), Some((admitted, 0)));
        assert!(admitted <= 2);
    });
}

#[test]
fn an_operator_beats_the_last_success() {
    check(|| {
        let shared = wait_just_over(&policy().with_probes(1).with_successes_needed(1));
        let last = shared.admit(Asker::Eligible).unwrap();
        let operator = {
            let shared = shared.clone();
            thread::spawn(move || command(&shared, hold()))
        };
        let asker = {
            let shared = shared.clone();
            thread::spawn(move || shared.admit(Asker::Eligible).map(|(role, ..)| role))
        };
        settle(&shared, last, Outcome::Success);
        operator.join().unwrap();
        if let Ok(role) = asker.join().unwrap() {
            // It is admitted only after the last success has landed, and then as a plain call.
            assert_eq!((role, recoveries(&shared)), (Role::Plain, 1));
        }
        assert!(shared.admit(Asker::Eligible).is_err());
        assert!(recoveries(&shared) <= 1);
    });
}

#[test]
fn whoever_is_admitted_beside_the_last_success_serves() {
    check(|| {
        let shared = wait_just_over(&policy().with_probes(1).with_successes_needed(1));
        let last = shared.admit(Asker::Eligible).unwrap();
        let settler = {
            let shared = shared.clone();
            thread::spawn(move || settle(&shared, last, Outcome::Success))
        };
        // Eras: 1 serving, 2 the trip, 3 probing, 4 serving.
        match shared.admit(Asker::Eligible) {
            Ok((role, era)) => assert_eq!((role, era), (Role::Plain, 4)),
            Err(refused) => assert_eq!(refused.cause(), Cause::Tripped),
        }
        settler.join().unwrap();
        assert!(shared.is_serving());
    });
}

#[test]
fn a_failing_probe_lets_nobody_in_behind_it() {
    check(|| {
        let shared = wait_just_over(&policy().with_probes(1));
        let probe = shared.admit(Asker::Eligible).unwrap();
        let settler = {
            let shared = shared.clone();
            thread::spawn(move || settle(&shared, probe, Outcome::Failure))
        };
        assert!(shared.admit(Asker::Eligible).is_err());
        settler.join().unwrap();
        assert!(shared.admit(Asker::Eligible).is_err());
    });
}

// ---- the one signal ----------------------------------------------------------------------------

/// One episode ended: in the log, and for a subscriber.
fn assert_one_signal(shared: &Arc<Root>) {
    assert!(shared.is_serving());
    assert_eq!(recoveries(shared), 1);
    let mut busts = CacheBusts::new(shared);
    let bust = busts.try_recv().expect("serving is back");
    assert_eq!(
        (bust.episode, bust.generation),
        (1, shared.status().generation)
    );
    assert_eq!(busts.try_recv(), None);
    assert_eq!(shared.journal().episodes().len(), 1);
}

#[test]
fn two_probes_that_succeed_at_once_give_one_signal() {
    check(|| {
        let shared = wait_just_over(&policy().with_probes(2).with_successes_needed(2));
        let probes = [(); 2].map(|()| shared.admit(Asker::Eligible).unwrap());
        let settlers = probes.map(|probe| {
            let shared = shared.clone();
            thread::spawn(move || settle(&shared, probe, Outcome::Success))
        });
        for settler in settlers {
            settler.join().unwrap();
        }
        assert_one_signal(&shared);
    });
}

#[test]
fn two_that_look_at_an_expired_hold_give_one_signal() {
    check(|| {
        let shared = shared(&policy());
        command(&shared, hold_for(Some(WAIT), Passing::Nothing));
        Clock::stand_at(at(10));
        let looker = {
            let shared = shared.clone();
            thread::spawn(move || shared.admit(Asker::Ineligible).is_ok())
        };
        shared.look();
        looker.join().unwrap();
        assert_one_signal(&shared);
    });
}

#[test]
fn of_two_probes_that_end_at_once_the_later_one_is_late() {
    check(|| {
        let shared = wait_just_over(&policy().with_probes(2).with_successes_needed(2));
        let [good, bad] = [(); 2].map(|()| shared.admit(Asker::Eligible).unwrap());
        let settler = {
            let shared = shared.clone();
            thread::spawn(move || settle(&shared, good, Outcome::Success))
        };
        settle(&shared, bad, Outcome::Failure);
        settler.join().unwrap();
        let status = shared.status();
        assert_eq!(status.mode, Mode::Maintenance);
        assert_eq!(recoveries(&shared), 0);
        // Either the good one came first and was counted, or it came too late.
        assert_eq!(status.window.succeeded + status.calls.late, 1);
    });
}

/// What `Shared::command` does, with a pause where the scheduler may put one: after the lock is let
/// go, before any listener is told. Others run on without one: loom returns to a thread that yields
/// when all do.
fn command_told_late(shared: &Shared, command: Command) {
    let mut machine = shared.machine.lock().expect("not poisoned");
    machine.tick(shared.now(), shared.traffic(), &|_, _, _| true);
    let by = Signature::new("on-call", "drill").expect("a valid signature");
    let _ = machine.command(command, &by);
    let news = shared.publish(&mut machine);
    drop(machine);
    thread::yield_now();
    shared.tell(news);
}

#[test]
fn a_late_teller_does_not_take_the_newest_signal_back() {
    check(|| {
        let shared = shared(&policy());
        command(&shared, hold());
        let other = {
            let shared = shared.clone();
            thread::spawn(move || command_told_late(&shared, Command::Release))
        };
        command(&shared, hold());
        command(&shared, Command::Release);
        other.join().unwrap();
        let bust = CacheBusts::new(&shared)
            .try_recv()
            .expect("serving is back");
        assert_eq!(bust.generation, shared.status().generation);
    });
}

// ---- counting without the lock -----------------------------------------------------------------

/// A window that is counted in lanes: two buckets, and one or two more that its edges touch.
fn in_time() -> Policy {
    Policy::new(
        Window::time(Duration::from_secs(60)).in_buckets(2),
        Rate::HALF,
    )
    .with_wait(WAIT)
    .with_jitter(0.0)
}

/// Checks `model` with a layer that has just been made, and with one where a success has landed:
/// then the thread knows the bucket, and takes the shortest way.
fn check_with_and_without_a_known_bucket(
    model: impl Fn(Arc<Root>, u64) + Copy + Send + Sync + 'static,
) {
    for landed in [0, 1] {
        check(move || {
            let shared = shared(&in_time());
            for _ in 0..landed {
                let call = shared.admit(Asker::Eligible).unwrap();
                settle(&shared, call, Outcome::Success);
            }
            model(shared, landed);
        });
    }
}

/// A success that lands while another thread begins a new era: it counts once, and not in the
/// window that is new (R8).
#[test]
fn a_success_beside_a_reset_counts_once_and_in_no_later_window() {
    check_with_and_without_a_known_bucket(|shared, landed| {
        let call = shared.admit(Asker::Eligible).unwrap();
        let landing = {
            let shared = shared.clone();
            thread::spawn(move || settle(&shared, call, Outcome::Success))
        };
        command(&shared, Command::Reset);
        landing.join().unwrap();
        let status = shared.status();
        assert_eq!(status.calls.succeeded, landed + 1);
        assert_eq!(status.window.total, 0);
    });
}

#[test]
fn a_success_beside_a_failure_is_counted_with_it() {
    check_with_and_without_a_known_bucket(|shared, landed| {
        let [good, bad] = [(); 2].map(|()| shared.admit(Asker::Eligible).unwrap());
        let landing = {
            let shared = shared.clone();
            thread::spawn(move || settle(&shared, good, Outcome::Success))
        };
        settle(&shared, bad, Outcome::Failure);
        landing.join().unwrap();
        let status = shared.status();
        assert_eq!((status.window.total, status.window.failed), (landed + 2, 1));
        assert_eq!(
            (status.calls.succeeded, status.calls.failed),
            (landed + 1, 1)
        );
    });
}
