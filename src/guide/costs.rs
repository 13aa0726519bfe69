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
//! The time of these paths, with a partner that answers at once: 2 vCPU EPYC (Zen 3), Rust 1.95, 21
//! November 2026. `cargo run --release -p peers` measures it, and prints other circuit breakers
//! beside it. callgrind counts the instructions.
//!
//! | call | ns | instructions |
//! |---|---|---|
//! | the partner alone | 1.0 | 17 |
//! | admitted | 32.0 | 231 |
//! | admitted, `CoarseClock` | 12.5 | 228 |
//! | admitted, count window | 94.3 | 1,079 |
//! | refused, a wait pending | 28.3 | 223 |
//! | refused, held without expiry | 4.7 | 114 |
//! | exempt by one of 1,000 patterns; the matcher alone 55.1 and 757 | 111.2 | 1,322 |
//!
//! The 32 ns of an admitted call are: tokio's clock about 25, the compare-exchange that counts the
//! call 5, and the rest 2. The rest is reading the gate, taking and releasing the reference to the
//! layer's state, and judging the answer. The processor executes it while it waits for the other
//! two. With `CoarseClock` (feature `coarse-clock`) the clock takes 6 ns. A refusal with a deadline
//! pending takes the time of the clock and 4 ns.
//!
//! `cargo run --release -p peers -- --check-instructions` fails if a call takes more instructions
//! than the committed number. Three tests check that nothing is allocated:
//! `r03_an_admitted_call_allocates_nothing`, `r03_a_refusal_under_a_hold_allocates_nothing` and
//! `r03_an_exempt_call_allocates_nothing_in_any_mode`. None of these costs grows with the length of
//! the window, the traffic, or the number of subscribers or readers (case `growth` of the same
//! program).
//!
//! *An HTTP call* that passes and is judged by its head takes 637 instructions more than the
//! partner alone (case `http`). A call that is exempt by its path takes 565 more than the matcher
//! alone. Of these, 128 ask the matcher and check that no other reader parses the path in another
//! way. 96 find the exemptions in force and count the call. The rest moves request, future and
//! answer, as for every call.
//!
//! *Before an axum router's routes*, in a real server: `axum::serve`, a kept connection, a router
//! of two routes. The kernel's instructions are not counted.
//!
//! | a request | instructions | of the router alone | by `oneshot` |
//! |---|---|---|---|
//! | the router alone | 13,989 | 1.00 | 5,489 |
//! | with a layer that does nothing | 14,835 | 1.06 | 6,335 |
//! | with this layer, `routes()` | 15,400 | 1.10 | 6,908 |
//! | the same, and an exemption to look for | 15,424 | 1.10 | 6,921 |
//! | this layer around the router, `paths()`, and the exemption | 14,589 | 1.04 | 6,082 |
//!
//! Most of the difference comes from axum: it clones a layered route for each request and boxes its
//! future once more, for any layer. To avoid this cost, put the layer around the router. There it
//! knows paths, but not the router's own decision, and it also refuses requests that no route
//! takes.
//!
//! In time the difference is small. Such a request takes 22,240 ns on loopback, 22,300 with a layer
//! that does nothing, and 22,390 with this layer. The cases are `axum_served` and `axum`.
//!
//! # What was tried and did not pay
//!
//! - *One counter that all cores share*: 6 ns with one thread, 30 with two. So each core counts on
//!   a cache line of its own, and the lock holder adds the lanes up before it judges.
//! - *One `Arc` for each call*: 14 ns with one thread, 62 with two. A call that ends leaves its
//!   reference to the next call on its thread.
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
//!   had no lane of its own. Two threads did 1.66 times the work of one.
//! - *No search for an exemption while serving*, before one's own routes, where all requests pass
//!   anyway: it saves 100 instructions, and 190 around the router. But exempt requests are counted
//!   at all times.
//! - *An enum of the readings of two clocks*: it was written in halves and read as a whole, so the
//!   load stalled 5 ns on store forwarding. So each clock has code of its own.
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
//!   success is mistaken for a newer one only if no caller takes the lock for 49 days:
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
//! threads. It then computes the model for 128 cores. It assumes 100 ns for a cache line to come
//! from another core. No run on more than two cores was measured. Its results:
//!
//! - *Memory.* A layer takes 3.4 KB, and 392 bytes for each lane. There is one lane for each core,
//!   up to 64, and one more. That is 28,888 bytes on 64 cores or more, and 289 MB for 10,000
//!   layers. From two cores on, this is at most 128 bytes per core and bucket, and 2 KiB:
//!   `a_layer_takes_at_most_128_bytes_a_core_and_bucket_and_2_kib`.
//! - *10,000 partners, 1,000,000 calls a second in all*, 100 a second for each: no cache line is
//!   contended. A call costs as much as fetching its ten cache lines from memory, some hundred
//!   nanoseconds. All calls together take a quarter of one core of 128.
//! - *1,000,000 calls a second for each of them* are 10,000,000,000: 12.8 ns per call and core. The
//!   clock alone takes more, so no breaker that reads a clock reaches this number. Where nothing is
//!   shared, 128 cores reach about a third of it.
//! - *One layer, all cores.* Admission shares nothing up to 65 threads: 32 ns a call on 64 cores as
//!   on one. Beyond that, two threads share each lane: 230 ns on 128 cores, or 550 million calls a
//!   second. One counter for all reaches 10 million, one `Arc` 5 million, one lock 3 million.
//! - *The first bottleneck* is cloning the service for each call. All clones count in one place,
//!   which every call reads: 3 million a second through one layer, on any number of cores. If one
//!   partner gets more, keep a service for each worker or connection. An axum server clones its
//!   router, and with it every layer of the router, for each request.
//! - *The second bottleneck* is failures. A failure takes the lock, adds up all lanes and closes
//!   them, and the next success opens them again. That takes about 20 µs with 65 lanes, so one
//!   layer handles some 50,000 failures a second. With one failure in 1,000 calls 64 cores do 61
//!   million calls a second, with one in 100 they do 5 million.
//! - *Refused and exempt calls* share only data that they read. A thread that alternates between
//!   layers while it refuses counts references of each layer's notice. All cores share that count.
//! - *Keyed layers* share nothing between calls except the position of the sweep: eight additions
//!   in 64 calls of a thread.
