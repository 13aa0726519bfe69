//! Whatever is called exempt, the router dispatches to a route declared exempt; an input is `METHOD target`.
#![no_main]

#[path = "../../tests/http/dispatch.rs"]
mod dispatch;

libfuzzer_sys::fuzz_target!(|line: &[u8]| {
    dispatch::check(line);
});
