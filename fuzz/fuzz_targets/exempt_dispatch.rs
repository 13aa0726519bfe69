//! A request that passes as exempt is dispatched to a route that is declared exempt. An input is
//! `METHOD target`.
#![no_main]

#[path = "../../tests/http/dispatch.rs"]
mod dispatch;

libfuzzer_sys::fuzz_target!(|line: &[u8]| {
    dispatch::check(line);
});
