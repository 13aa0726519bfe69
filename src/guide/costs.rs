//! What a call costs, which alternatives were measured, and how exact the counts are.
//!
//! | path | clock reads | atomic read-modify-writes | locks | allocations |
//! |---|---|---|---|---|
//! | admitted, answered at the first poll | 1 | 1, on a cache line of its core | 0 | 0 |
//! | admitted, answered later | 2 | 1, the same | 0 | 0 |
//! | admitted, in a count window, or next after a failure | 2 | those of a lock | 1 | 0 |
//! | failed, slow, dropped | 1 to 3 | those of a lock | 1 | 0 |
//! | refused, no deadline pending (a hold without expiry) | 0 | 0 | 0 | 0 |
//! | refused, a deadline pending | 1 | 0 | 0 | 0 |
//! | exempt, not counted | 0 | 0 | 0 | 0 |
//! | keyed | as above | two more, on a cache line of its thread | as above | 0 |
//!
//! The table holds for a thread that calls through the same layer again. A thread that alternates
//! between layers counts two references more for each call, on cache lines of its own core. It also
//! divides once to find its bucket.
//!
//! # Instructions
//!
//! callgrind counts them, for the whole call with a partner that takes 17 (Rust 1.95, x86-64,
//! cargo's default release profile). `benches/peers/instructions.json` holds them, case by case.
//! `cargo run --release -p peers` counts them anew, prints other circuit breakers beside them, and
//! measures the times and ratios of your machine. No time stands on this page, because it would
//! hold for one machine only.
//!
//! | call | case | instructions |
//! |---|---|---|
//! | admitted, waits for its answer | `waiting` | 371 |
//! | the same, `CoarseClock` | `waiting_coarse` | 378 |
//! | the same, 1,000 layers in turn | `cold` | 672 |
//! | admitted, answered at the first poll | `admitted` | 292 |
//! | the same, `CoarseClock` | `admitted_coarse` | 292 |
//! | refused, a wait pending | `refused` | 187 |
//! | refused, held without expiry | `refused_held` | 137 |
//! | exempt by one of 1,000 patterns; the matcher alone takes 757 | `exempt` | 1,478 |
//! | HTTP, answered at the first poll; the client alone takes 375 | `http` | 1,249 |
//! | HTTP, headers and two frames waited for | `waiting_http` | 3,606 |
//!
//! The instructions of the kernel and of its clock are not counted, so the table does not show what
//! `CoarseClock` (feature `coarse-clock`) saves.
//!
//! `cargo run --release -p peers -- --check-instructions` fails if a call takes more instructions
//! than the committed number. Three tests check that nothing is allocated:
//! `r03_an_admitted_call_allocates_nothing`, `r03_a_refusal_under_a_hold_allocates_nothing` and
//! `r03_an_exempt_call_allocates_nothing_in_any_mode`. None of these costs grows with the length of
//! the window, the traffic, or the number of subscribers or readers (case `growth` of the same
//! program).
//!
//! *Before an axum router's routes*, in a real server (`axum::serve`, a kept connection, a router
//! of two routes, case `axum_served`): a request to the router alone takes 14,078 instructions. A
//! layer that does nothing adds 846. This layer adds 1,016 more.
//!
//! The first of these two costs comes from axum: it clones a layered route for each request and
//! boxes its future once more, for any layer. To avoid this cost, put the layer around the router.
//! There it knows paths, but not the router's own decision, and it also refuses requests that no
//! route takes.
//!
//! # What was tried and did not pay
//!
//! `cargo bench --bench many_cores` runs the first two with one and with two threads.
//!
//! - *One counter that all cores share*: the cores take its cache line from each other. So each
//!   core counts on a cache line of its own, and the lock holder adds up the lanes before it
//!   judges.
//! - *One `Arc` for each call*: its reference count is such a counter, written twice per call. A
//!   call that ends leaves its reference to the next call on its thread.
//! - *A window that calls scan*: only the lock holder may use the ring of buckets. So calls count
//!   by the bucket, and the buckets keep totals.
//! - *Undated successes*, with one clock read for several calls: the clock is most of the remaining
//!   time. But a core could put all but one of these successes into an older or a newer bucket.
//!   That could delay a trip or cause one.
//! - *A lock-free slot for the reference that a call leaves*, in place of a thread-local: it needs
//!   one read-modify-write to take the reference and one to return it. It was meant to save exactly
//!   these two.
//! - *Comparing short paths eight bytes at a time*, to check that they are plain: the compiler
//!   split the eight bytes again. A copy that is padded to sixteen bytes costs less.
//! - *A cheaper hash for names than that of the standard library*: bisection by length and then by
//!   name costs as little, and needs no hash function in this crate.
//! - *As many lanes as cores*: the thread that starts a runtime calls too, so one of the workers
//!   had no lane of its own.
//! - *No search for an exemption while serving*, before the application's routes, where all
//!   requests pass anyway: it saves the search. But exempt requests are counted at all times.
//! - *An enum of the readings of two clocks*: it was written in halves and read as a whole, so the
//!   load stalled on store forwarding. So each clock has code of its own.
//!
//! # How exact it is
//!
//! - *`CoarseClock`* lags by one tick, at most `CoarseClock::MAX_LAG` (16 ms). Buckets, waits and
//!   limits lag with it. Listeners sleep longer by the same time instead of polling:
//!   `a_listener_on_the_coarse_clock_sleeps_through_the_wait`.
//! - *Counting without the lock* loses no success, counts none twice, and counts none in another
//!   bucket: `what_lands_is_drained_once_where_it_landed`, `nothing_is_lost_among_threads`,
//!   `successes_between_failures_are_counted_exactly`.
//! - *A bucket is identified by the low 32 bits of its number.* At the narrowest width of 1 ms, a
//!   success is mistaken for an older one only if no caller takes the lock for 24 days:
//!   `a_bucket_is_known_by_its_low_bits`.
//! - *`status()`* includes every call that ended before `status()` was called. It includes some of
//!   the calls that end at the same moment. Such a call may be counted as admitted and not yet as
//!   succeeded: `status_sees_every_call_that_ended_before_it`.
//! - *A thread keeps the state of one layer*: the layer that it called through last. It drops the
//!   state when it calls through another layer, or when it ends:
//!   `a_thread_keeps_one_layer_at_most_after_it_is_gone`, `a_thread_that_ends_lets_go`. The kept
//!   state is never mistaken for that of another layer:
//!   `a_thread_that_calls_many_layers_by_turns_counts_each_call_in_its_own`.
//! - *Count windows* take the lock for every call, because they need the order of the calls. The
//!   success after a failure takes the lock too, because it ends a run.
//!
//! # Many partners, many cores
//!
//! `cargo bench --bench many_cores` compares a model of cache lines with real runs of one and two
//! threads, and prints what the model computes for up to 128 cores. No run on more than two cores
//! was measured, so what follows about more cores comes from the model.
//!
//! - *Memory.* A layer takes 3.6 KB, and 392 bytes for each lane. There is one lane for each core,
//!   up to 64, and one more. That is 29,048 bytes on 64 cores or more, and 290 MB for 10,000
//!   layers. From two cores on, this is at most 128 bytes per core and bucket, and 2.5 KiB:
//!   `a_layer_takes_at_most_128_bytes_a_core_and_bucket_and_2_and_a_half_kib`.
//! - *10,000 partners with 100 calls a second each*: no cache line is contended. A call costs as
//!   much as fetching its ten cache lines from memory.
//! - *One layer, all cores.* Admission shares nothing up to 65 threads, so a call costs on 64 cores
//!   what it costs on one. Beyond that, two threads share each lane.
//! - *The first bottleneck* is cloning the service for each call. All clones count in one place,
//!   which every call reads. If one partner gets millions of calls a second, keep a service for
//!   each worker or connection. An axum server clones its router, and with it every layer of the
//!   router, for each request.
//! - *The second bottleneck* is failures. A failure takes the lock, adds up all lanes and closes
//!   them, and the next success opens them again. The work grows with the number of lanes.
//! - *Refused and exempt calls* share only data that they read. A thread that alternates between
//!   layers while it refuses counts references of each layer's notice. All cores share that count.
//! - *Keyed layers* share nothing between calls except the position of the sweep: eight additions
//!   in 64 calls of a thread.
