//! Ten thousand partners and 128 cores: the cache lines that calls share, and their cost as the
//! number of cores grows.
//!
//! `cargo bench --bench many_cores` (`-- --quick` takes half a minute). The machine has few cores,
//! so more are simulated. The model of cache lines (`model.rs`) is given the lines that each design
//! touches (`designs.rs`), and the costs of a hit, a transfer and a miss, which are measured first
//! on one and two threads. The model is then compared with real runs of one and two threads. All
//! numbers for more than two cores are extrapolated, once with the transfer as measured and once
//! with `--transfer NS`. Its default of 100 ns is an assumption about distant cores of large
//! processors, and is not measured.

#[path = "../support/alloc.rs"]
mod alloc;
mod designs;
mod model;
#[path = "../support/mod.rs"]
mod support;

use std::{
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tower::Layer;
use tower_maintenance::MaintenanceLayer;

use crate::{
    designs::{Design, Lists, Ours, Running},
    model::{Costs, Machine},
};

const PARTNERS: usize = 10_000;
const DESIGNS: [Design; 4] = [
    Design::Ours(Ours::Plain),
    Design::OneCounter,
    Design::OneArc,
    Design::OneMutex,
];
/// The variant of ours that is run too.
const CLONES: Design = Design::Ours(Ours::CloneEach);
const MORE_OF_OURS: [Design; 5] = [
    Design::Ours(Ours::LaneEach),
    CLONES,
    Design::Ours(Ours::Fails(10_000)),
    Design::Ours(Ours::Fails(1_000)),
    Design::Ours(Ours::Fails(100)),
];

#[derive(Debug, Clone, Copy)]
struct Effort {
    rounds: usize,
    calls: usize,
    simulated: usize,
    cores: &'static [usize],
}

const FULL: Effort = Effort {
    rounds: 200,
    calls: 20_000,
    simulated: 8_000,
    cores: &[1, 2, 4, 8, 16, 32, 64, 128],
};
const QUICK: Effort = Effort {
    rounds: 30,
    calls: 20_000,
    simulated: 2_000,
    cores: &[1, 2, 16, 64, 128],
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let effort = if arguments.iter().any(|argument| argument == "--quick") {
        QUICK
    } else {
        FULL
    };
    let far = arguments
        .iter()
        .skip_while(|argument| *argument != "--transfer")
        .nth(1);
    let far = far.map_or(100.0, |ns| {
        ns.parse().expect("`--transfer` takes nanoseconds")
    });

    model::check();
    counts_add_up();
    let bytes = memory();
    let costs = costs(effort);
    let ours = Costs {
        miss: miss(effort, bytes),
        ..costs
    };
    println!(
        "\n| what a line costs, measured here | ns |\n|---|---|\n| hit | {:.1} |\n| own read-modify-write | {:.1} |\n\
         | transfer between two cores | {:.1} |\n| miss, of {} lines a core, among {PARTNERS} layers of {bytes} bytes | {:.1} |\n\
         | among {PARTNERS} of {} bytes, as the other designs are | {:.1} |",
        costs.hit,
        costs.update,
        costs.transfer,
        costs.lines,
        ours.miss,
        designs::BYTES,
        costs.miss
    );
    let costs = [ours, costs];
    let works = validate(effort, costs);
    for (title, transfer) in [("as measured", costs[0].transfer), ("assumed", far)] {
        let costs = costs.map(|costs| Costs { transfer, ..costs });
        tables(effort, costs, works, title);
    }
    load(works[0]);
}

// ---- measured ----------------------------------------------------------------------------------

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The nanoseconds for which this thread has waited for a processor. Zero where it is not Linux.
fn waited() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = stat.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    waited.unwrap_or(0.0)
}

/// One round in this number counts: those in which the threads waited least for a processor, and so
/// ran together longest.
const BEST_OF: usize = 5;

/// Waits until `arrivals` arrivals have been counted, of which this is one.
///
/// It spins, because a thread that is woken often runs on the waker's processor.
fn meet(here: &AtomicUsize, arrivals: usize) {
    here.fetch_add(1, Ordering::AcqRel);
    while here.load(Ordering::Acquire) < arrivals {
        thread::yield_now();
    }
}

/// The wall nanoseconds of one call while `threads` threads each run a function of `each`, which is
/// given the number of calls to make.
fn timed(
    threads: usize,
    effort: Effort,
    each: impl Fn(usize) -> Box<dyn FnMut(usize) + Send>,
) -> f64 {
    let Effort { rounds, calls, .. } = effort;
    let here = AtomicUsize::new(0);
    let times = thread::scope(|scope| {
        let run = |number: usize| {
            let (mut run, here) = (each(number), &here);
            scope.spawn(move || {
                run(calls);
                let round = |round: usize| {
                    meet(here, threads * (round + 1));
                    let (waiting, begin) = (waited(), now());
                    run(calls);
                    let took = begin.elapsed().as_nanos() as f64;
                    (took / calls as f64, (waited() - waiting) / took)
                };
                (0..rounds).map(round).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..threads).map(run).collect();
        let times = threads
            .into_iter()
            .map(|thread| thread.join().expect("no thread panics"));
        times.collect::<Vec<_>>()
    });
    let slowest = |round: usize| {
        let of = |(ns, waited): (f64, f64), time: &Vec<(f64, f64)>| {
            (ns.max(time[round].0), waited.max(time[round].1))
        };
        times.iter().fold((0.0, 0.0), of)
    };
    let mut rounds: Vec<_> = (0..rounds).map(slowest).collect();
    rounds.sort_by(|one, other| one.1.total_cmp(&other.1));
    rounds.truncate(rounds.len() / BEST_OF);
    median(rounds.into_iter().map(|(ns, _)| ns).collect())
}

fn costs(effort: Effort) -> Costs {
    static LINE: AtomicU64 = AtomicU64::new(0);
    let on_line = |threads, op: fn()| {
        timed(threads, effort, |_| {
            Box::new(move |calls| (0..calls).for_each(|_| op()))
        })
    };
    let hit = on_line(1, || {
        black_box(LINE.load(Ordering::Relaxed));
    });
    let add = || {
        black_box(LINE.fetch_add(1, Ordering::Relaxed));
    };
    let update = on_line(1, add);
    // With work in between, as in calls: a processor keeps the line for many updates in a row.
    let spaced = || {
        let worked = (0..16).fold(black_box(1_u64), |n, _| black_box(n.wrapping_mul(3)));
        black_box(LINE.fetch_add(worked, Ordering::Relaxed));
    };
    let transfer = (on_line(2, spaced) - on_line(1, spaced)).max(hit);
    Costs {
        hit,
        update,
        transfer,
        miss: miss(effort, designs::BYTES),
        lines: cached_lines(),
    }
}

/// The number of lines that a core's own cache holds.
fn cached_lines() -> usize {
    let size = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index2/size");
    let kib = size
        .ok()
        .and_then(|size| size.trim().strip_suffix('K')?.parse::<usize>().ok());
    kib.unwrap_or(1024) * 1024 / 64
}

/// The nanoseconds of a miss: a pointer chase through ten lines of each of ten thousand layers of
/// `bytes` bytes. They are more than a core's own cache holds, and may be more pages than its TLB
/// holds.
fn miss(effort: Effort, bytes: usize) -> f64 {
    const LINES: usize = 10;
    let lines = PARTNERS * LINES;
    let apart = bytes / LINES / size_of::<usize>();
    // One cycle through all lines (Sattolo's shuffle).
    let mut order: Vec<usize> = (0..lines).collect();
    let mut state = 1_u64;
    for last in (1..lines).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        order.swap(last, (state >> 33) as usize % last);
    }
    let mut chain = vec![0; lines * apart];
    for (line, next) in order.into_iter().enumerate() {
        chain[line * apart] = next * apart;
    }
    let rounds = (0..effort.rounds).map(|_| {
        let begin = now();
        let mut at = 0;
        for _ in 0..effort.calls {
            at = chain[at];
        }
        black_box(at);
        begin.elapsed().as_nanos() as f64 / effort.calls as f64
    });
    median(rounds.collect())
}

/// Checks that no call is lost where more threads than lanes share the lanes.
fn counts_add_up() {
    const THREADS: usize = 128;
    const CALLS: usize = 2_000;
    let layer = MaintenanceLayer::new("partner");
    let barrier = &Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let mut service = layer.layer(support::Bare);
            scope.spawn(move || {
                // All threads live at once, so each has a number of its own.
                support::call(&mut service);
                barrier.wait();
                (1..CALLS).for_each(|_| assert!(support::call(&mut service)));
                barrier.wait();
            });
        }
    });
    let status = layer.handle().status();
    let expected = (THREADS * CALLS) as u64;
    assert_eq!(status.calls.admitted, expected);
    assert_eq!(status.calls.succeeded, expected);
    println!(
        "{THREADS} threads on one layer, {CALLS} calls each: {expected} admitted and succeeded, none lost"
    );
}

/// The bytes of a layer on this machine.
fn memory() -> usize {
    let (before, allocated) = (alloc::bytes(), alloc::allocations());
    let layer = black_box(MaintenanceLayer::new("partner"));
    let bytes = alloc::bytes() - before;
    let allocations = alloc::allocations() - allocated;
    drop(layer);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let lanes = cores.min(64) + 1;
    // A lane is two pairs of lines, one pair for the state that its calls keep, and a pointer.
    let a_lane = 256 + 128 + 8;
    let with = |all: usize| bytes + a_lane * (all as i64 - lanes as i64);
    println!(
        "one layer: {bytes} bytes in {allocations} pieces with {lanes} lanes, {a_lane} for each further lane"
    );
    println!(
        "{PARTNERS} layers with 65 lanes: {:.0} MB computed ({} bytes each)",
        (PARTNERS as i64 * with(65)) as f64 / 1e6,
        with(65)
    );
    usize::try_from(bytes).expect("a layer takes memory")
}

// ---- the model against real runs ---------------------------------------------------------------

fn simulated(
    effort: Effort,
    [ours, others]: [Costs; 2],
    design: Design,
    cores: usize,
    partners: usize,
    work: f64,
) -> f64 {
    // A tenth of the partners with a tenth of the cache: as many misses in a tenth of the time.
    let tenth = if partners == PARTNERS { 10 } else { 1 };
    let partners = partners / tenth;
    let costs = if matches!(design, Design::Ours(_)) {
        ours
    } else {
        others
    };
    let lines = costs.lines / tenth;
    let mut lists = Lists::new(design, cores, partners, work);
    let mut machine = Machine::new(Costs { lines, ..costs }, cores, lists.lines());
    // Every core calls every partner while it warms up.
    let (warm, calls) = (effort.simulated.max(partners), effort.simulated);
    machine.run(warm, calls, |core, call, rest| lists.list(core, call, rest))
}

/// Prints the deviation of the model from real runs, and returns for each design the work of a call
/// on no shared line. It is chosen so that the model fits one thread on one layer.
fn validate(effort: Effort, costs: [Costs; 2]) -> [f64; 4] {
    println!(
        "\n| model against real runs, ns a call of one thread | threads | partners | real | model | deviation |\n|---|---|---|---|---|---|"
    );
    let real = |design: Design, threads: usize, partners: usize| {
        let running = Running::new(design, partners);
        timed(threads, effort, |number| {
            let mut running = running.another(number);
            Box::new(move |calls| running.run(calls))
        })
    };
    let row =
        |design: Design, threads: usize, partners: usize, real: f64, model: f64, note: &str| {
            println!(
                "| {} | {threads} | {partners} | {real:.1} | {model:.1} | {:+.0} %{note} |",
                design.name().trim(),
                (model / real - 1.0) * 100.0
            );
        };
    let mut works = [0.0; 4];
    let each = |design: Design, known: Option<f64>| {
        let alone = real(design, 1, 1);
        let lines = simulated(effort, costs, design, 1, 1, 0.0);
        let work = known.unwrap_or((alone - lines).max(0.0));
        let note = if known.is_some() { "" } else { ", by choice" };
        row(design, 1, 1, alone, work + lines, note);
        for (threads, partners) in [(2, 1), (1, PARTNERS), (2, PARTNERS)] {
            let real = real(design, threads, partners);
            let model = simulated(effort, costs, design, threads, partners, work);
            row(design, threads, partners, real, model, "");
        }
        work
    };
    for (work, design) in works.iter_mut().zip(DESIGNS) {
        *work = each(design, None);
    }
    each(CLONES, Some(works[0]));
    works
}

// ---- many cores --------------------------------------------------------------------------------

fn tables(effort: Effort, costs: [Costs; 2], works: [f64; 4], title: &str) {
    for partners in [1, PARTNERS] {
        println!(
            "\nSimulated, {partners} partners by turns, a transfer takes {:.0} ns ({title}): ns a call, and all cores' million calls a second\n",
            costs[0].transfer
        );
        print!("| cores |");
        effort.cores.iter().for_each(|cores| print!(" {cores} |"));
        println!("\n|---|{}", "---|".repeat(effort.cores.len()));
        let works = works.into_iter().chain([works[0]; MORE_OF_OURS.len()]);
        for (design, work) in DESIGNS.into_iter().chain(MORE_OF_OURS).zip(works) {
            print!("| {} |", design.name());
            for &cores in effort.cores {
                let ns = simulated(effort, costs, design, cores, partners, work);
                print!(" {ns:.0}, {:.0} |", cores as f64 * 1e3 / ns);
            }
            println!();
        }
    }
}

/// Prints the time that each reading of "10,000 partners, 1,000,000 calls a second" leaves for a
/// call.
fn load(work: f64) {
    let all = |calls: f64| 128.0 * Duration::from_secs(1).as_nanos() as f64 / calls;
    println!(
        "\n10,000 partners at 1,000,000 calls a second in all: a core has {:.0} ns for each. At 1,000,000 each: {:.1} ns, less than the \
         {work:.0} ns that a call works on no shared line.",
        all(1e6),
        all(1e10)
    );
}
