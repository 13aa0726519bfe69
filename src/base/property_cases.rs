//! How many cases the property tests run.

use proptest::test_runner::Config;

/// `modest` cases, or what `PROPTEST_CASES` says for a deep run.
///
/// Nothing is persisted: what a run finds becomes a test with a name.
pub(crate) fn cases(modest: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let cases = asked.and_then(|cases| cases.parse().ok());
    Config {
        cases: cases.unwrap_or(modest),
        failure_persistence: None,
        ..Config::default()
    }
}
