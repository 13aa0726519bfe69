//! What a call costs: where each nanosecond goes, what was tried and did not pay, how exact it is.
//!
//! | path | clock reads | atomic read-modify-writes | locks | allocations |
//! |---|---|---|---|---|
//! | admitted, answered at the first poll | 1 | 1, on a line of its own core | 0 | 0 |
//! | admitted, answered later | 2 | 1, the same | 0 | 0 |
//! | admitted, in a count window, or next after a failure | 2 | those of a lock | 1 | 0 |
//! | failed, slow, dropped | 1 to 3 | those of a lock | 1 | 0 |
//! | refused, no deadline pending (a hold without expiry) | 0 | 0 | 0 | 0 |
//! | refused, a deadline pending | 1 | 0 | 0 | 0 |
//! | exempt, not counted | 0 | 0 | 0 | 0 |
//! | keyed | as above | two more, on a line of its own thread | as above | 0 |
//!
//! That is for a thread that calls through the same layer again. A thread that goes from layer to layer counts two references more
//! for each call, on lines of its own core, and divides to find its bucket.
//!
//! What that comes to, on 2 vCPU of an AMD EPYC, Rust 1.95, 21 November 2026, a partner that answers at once
//! (`cargo run --release -p peers`, which prints the peers beside it; instructions by callgrind):
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
//! Of the 32 ns of an admitted call tokio's clock takes about 25, the compare-exchange that counts it 5, and all else, with which the processor
//! does not wait for either, 2: reading the
//! gate, taking and leaving the hold on the layer's state, judging the answer. With `CoarseClock` (feature `coarse-clock`) the clock takes 6. A refusal
//! with a deadline pending is the clock and 4 ns.
//! Instructions are kept by `cargo run --release -p peers -- --check-instructions`; that nothing is allocated by the tests named
//! `r03_an_admitted_call_allocates_nothing`, `r03_a_refusal_under_a_hold_allocates_nothing`,
//! `r03_an_exempt_call_allocates_nothing_in_any_mode`. None of this grows with the length of the window, with traffic, subscribers or readers: the case `growth`.
//!
//! *An HTTP call* that passes and is judged by its head takes 637 instructions more than the partner alone (case `http`). One that is exempt by its path, 565 more than the matcher:
//! 128 to ask it and to see that nobody reads the path in another way, 96 to find the exemptions in force and to count, and the rest, as for every call, to move request, future and answer along.
//!
//! *Before an axum router's routes*, in a real server (`axum::serve`, a connection that is kept, a router of two routes; without the kernel's):
//!
//! | a request | instructions | of the router alone | by `oneshot` |
//! |---|---|---|---|
//! | the router alone | 13,989 | 1.00 | 5,489 |
//! | with a layer that does nothing | 14,835 | 1.06 | 6,335 |
//! | with this one, `routes()` | 15,400 | 1.10 | 6,908 |
//! | the same, and an exemption to look for | 15,424 | 1.10 | 6,921 |
//! | this one around the router, `paths()`, and the exemption | 14,589 | 1.04 | 6,082 |
//!
//! The larger part is not this layer's: axum clones a layered route for each request and boxes its future once more, whatever the layer is. Who minds puts it around the
//! router: it knows paths then, not the router's own decision, and refuses what no route takes, too. In time little of it is seen: such a request takes 22,240 ns on loopback, with a layer that
//! does nothing 22,300, and with this one 22,390. The cases `axum_served` and `axum`.
//!
//! # What was tried and did not pay
//!
//! - *One counter that all cores share*: 6 ns alone, 30 when two threads meet. So each core counts on a line of its own, and whoever
//!   judges adds up.
//! - *One `Arc` for each call*: 14 ns alone, 62 when two threads meet. A call that ends leaves its hold to the next on
//!   its thread.
//! - *A window scanned by calls*: the ring of buckets belongs to whoever has the lock. Calls count by the bucket, and the buckets
//!   keep totals.
//! - *Undated successes*, one clock read for several calls: the clock is most of what is left. But a core would
//!   misplace up to all but one of them, into an older bucket or a newer, and could so delay a trip or cause one.
//! - *A lock-free slot for the hold that a call leaves*, in place of a thread-local: a read-modify-write to take it and one to give it back, which is
//!   what it was to save.
//! - *Comparing short paths eight bytes at a time*, to see whether they are plain: the compiler took the eight apart. A copy that is filled up to sixteen costs less.
//! - *A hash for names that is cheaper than the standard library's*: bisection by length and then by name takes as little, and nothing of one's own.
//! - *As many lanes as cores*: the thread that starts a runtime calls too, and then one of its workers had none of its own. Two threads did 1.66 of one.
//! - *Not looking for an exemption while serving*, before one's own routes, where all pass anyway: 100 instructions less, 190 around the router. But exempt requests are counted at all times.
//! - *An enum of what two clocks show*: it was written in halves and read as a whole, and the processor waited 5 ns for its
//!   own stores. So each clock has code of its own.
//!
//! # How exact it is
//!
//! - *`CoarseClock`* lags by a tick, at most `CoarseClock::MAX_LAG` (16 ms): so do buckets, waits and limits. Listeners sleep longer by as much,
//!   rather than look again and again: `a_listener_on_the_coarse_clock_sleeps_through_the_wait`.
//! - *Counting without the lock* loses nothing and counts nothing twice or in another bucket:
//!   `what_lands_is_drained_once_where_it_landed`, `nothing_is_lost_among_threads`, `successes_between_failures_are_counted_exactly`. A bucket is known by the low 32 bits of its number,
//!   so at the narrowest width of 1 ms a success may lie for 49 days with nobody taking the lock before it is taken for a newer one:
//!   `a_bucket_is_known_by_its_low_bits`.
//! - *`status()`* sees every call that had ended before it was asked; of those that land this very moment some, and a call
//!   may be counted as admitted and not yet as succeeded: `status_sees_every_call_that_ended_before_it`.
//! - *A thread keeps the state of one layer*, the one that it called through last, until it calls through another or ends:
//!   `a_thread_keeps_one_layer_at_most_after_it_is_gone`, `a_thread_that_ends_lets_go`. What it keeps is never taken for another layer's:
//!   `a_thread_that_calls_many_layers_by_turns_counts_each_call_in_its_own`.
//! - *Count windows* take the lock for every call, for they must know the order; so does the success after a failure, which ends a run.
//!
//! # Many partners, many cores
//!
//! `cargo bench --bench many_cores` holds a model of cache lines against real runs of one and two threads, and then gives it 128 cores. What it says, with 100 ns for a line to come
//! from another core (an assumption; nothing beyond two cores was measured):
//!
//! - *Memory.* 3.4 KB and 392 bytes for each lane, of which there is one for each core, up to 64, and one more: 28,888 bytes on 64 cores or
//!   more, 289 MB for 10,000 layers. From two cores on that is within 128 bytes a core and bucket and 2 KiB: `a_layer_takes_at_most_128_bytes_a_core_and_bucket_and_2_kib`.
//! - *10,000 partners, 1,000,000 calls a second in all*: 100 a second for each. No line is fought for. A call costs what fetching its ten
//!   lines from memory does, some hundred nanoseconds: a quarter of one core of 128.
//! - *1,000,000 calls a second for each* are 10,000,000,000: 12.8 ns a call and core, which is less than the clock takes. That much no breaker that reads a clock does;
//!   128 cores do about a third of it where nothing is shared.
//! - *One layer, all cores.* Admitting shares nothing up to 65 threads: 32 ns a call on 64 cores as on one. Beyond that threads share
//!   lanes by twos: 230 ns on 128 cores, which do 550 million calls a second; one counter for all does 10 million, one `Arc` 5, one lock 3.
//! - *What breaks first* is cloning the service for each call, for all clones count in one place, which every call reads: 3 million a second through one layer, however many cores.
//!   Keep a service for each worker or connection where one partner gets more; an axum server clones its router, and with it every layer of it, for each request.
//! - *Then failures.* One takes the lock, adds up all lanes and closes them, the next success opens them: about 20 µs with 65 lanes, so some 50,000 failures a second through one layer. With one
//!   failure in 1,000 calls 64 cores do 61 million calls a second, with one in 100 they do 5 million.
//! - *Refusing and exempting* share nothing but what is read. A thread that refuses for many layers by turns counts references of each layer's notice, one count for all cores.
//! - *Keyed layers* share nothing between calls but the turn of the sweep, eight additions in 64 calls of a thread.
