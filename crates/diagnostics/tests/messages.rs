//! Common mistakes, and that the compiler's message names the cure.
//!
//! Each file in `tests/ui` is one mistake. The `.stderr` file beside it is what the compiler says.
//! To write the files anew after an update of the compiler: `TRYBUILD=overwrite cargo test -p
//! diagnostics-tests`.

#[test]
fn each_message_names_the_cure() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
