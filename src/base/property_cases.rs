//! The number of cases that the property tests run.

use proptest::test_runner::Config;

/// Configures `modest` cases, or as many as `PROPTEST_CASES` says for a deep run.
///
/// Failures are not persisted: a failing case becomes a named test.
pub(crate) fn cases(modest: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let cases = asked.and_then(|cases| cases.parse().ok());
    Config {
        cases: cases.unwrap_or(modest),
        failure_persistence: None,
        ..Config::default()
    }
}
