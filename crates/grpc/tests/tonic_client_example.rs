//! The example's own story, run as a test.

#[path = "../examples/tonic_client.rs"]
mod tonic_client;

/// The stack does what the guide says of it; the story asserts it.
#[test]
fn the_documented_stack_keeps_its_promises_around_tonic() {
    tonic_client::main().expect("the story comes to its good end");
}
