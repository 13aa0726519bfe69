//! Three HTTP clients behind the layer, against a real server: the example runs as a test.

#[path = "../../examples/clients.rs"]
mod example;

/// The layer trips, refuses and recovers, with each of the three clients. The example
/// itself asserts it.
#[test]
fn all_clients_trip_and_recover() {
    example::main().expect("the story comes to its good end");
}
