//! Mutants: places where a rule of the design can be broken on purpose, to show that its test
//! notices.
//!
//! A mutant is a condition in the code that names what is broken. `.ci/mutants.txt` names the tests
//! that must notice. `.ci/break-rules` and `.ci/break-loom` choose the mutants one by one and run
//! these tests.

/// Whether the mutant with this description is chosen. It is the literal `false`, except in a build
/// with `--cfg maintenance_mutants`.
#[cfg(not(maintenance_mutants))]
macro_rules! mutant {
    ($broken:literal) => {
        false
    };
}

#[cfg(maintenance_mutants)]
macro_rules! mutant {
    ($broken:literal) => {
        $crate::base::mutant::is_chosen($broken)
    };
}

/// Whether the environment variable `MAINTENANCE_MUTANT` chooses this mutant.
#[cfg(maintenance_mutants)]
pub(crate) fn is_chosen(broken: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("MAINTENANCE_MUTANT").ok());
    chosen.as_deref() == Some(broken)
}
