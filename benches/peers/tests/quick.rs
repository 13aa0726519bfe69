//! The quick run succeeds, which it does only when every breaker has tripped and recovered, and its
//! JSON has every case. The measured times are not checked here.

use std::process::{Command, Output};

use serde_json::Value;

const BREAKERS: [&str; 8] = [
    "circuitbreaker-rs",
    "failsafe",
    "recloser",
    "seatbelt (native)",
    "seatbelt (tower)",
    "tower-maintenance",
    "tower-resilience-circuitbreaker (count)",
    "tower-resilience-circuitbreaker (time)",
];

/// Runs the program where it finds no valgrind: counting takes minutes in a debug build.
fn peers(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peers"))
        .args(arguments)
        .env("PATH", "")
        .output()
        .expect("the program was built for this test")
}

fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

fn assert_is_a_cost(of: &str, cost: &Value) {
    for field in ["ns", "ratio_to_bare"] {
        assert!(cost[field].as_f64() > Some(0.0), "{of}: {field} in {cost}");
    }
    assert!(cost["allocations"].as_f64() >= Some(0.0), "{of}: {cost}");
    assert_eq!(cost.get("instructions"), Some(&Value::Null), "{of}: {cost}");
}

fn assert_every_case_has_its_subjects(cases: &Value) {
    for case in [
        "waiting",
        "waiting_coarse",
        "cold",
        "refused",
        "admitted",
        "admitted_coarse",
    ] {
        for subject in BREAKERS.into_iter().chain(["bare", "tower::load_shed"]) {
            assert_is_a_cost(subject, &cases[case][subject]);
        }
    }
    for case in [
        "waiting_http",
        "refused_held",
        "http",
        "exempt",
        "axum",
        "axum_served",
    ] {
        for subject in ["bare", "tower-maintenance"] {
            assert_is_a_cost(subject, &cases[case][subject]);
        }
    }
}

fn assert_ours_allocates_nothing(cases: &Value) {
    for case in [
        "waiting",
        "waiting_coarse",
        "cold",
        "refused",
        "refused_held",
        "admitted",
        "admitted_coarse",
        "http",
        "exempt",
    ] {
        let cost = &cases[case]["tower-maintenance"];
        assert_eq!(cost["allocations"].as_f64(), Some(0.0), "{case}: {cost}");
    }
}

fn assert_two_threads_and_memory(cases: &Value) {
    for subject in BREAKERS {
        for state in ["waiting", "admitted", "refused"] {
            let speedup = &cases["two_threads"][subject][state]["speedup"];
            assert!(speedup.as_f64() > Some(0.0), "{subject}: {state}");
        }
        let memory = cases["memory"][subject].as_object().expect(subject);
        for memory in memory.values() {
            assert!(
                memory["bytes_built"].as_i64() > Some(0),
                "{subject}: {memory}"
            );
            assert!(memory["bytes_filled"].is_i64(), "{subject}: {memory}");
        }
    }
}

#[test]
fn the_quick_run_has_every_case_and_every_peer() {
    let output = peers(&["--quick", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let cases: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        keys(&cases),
        [
            "admitted",
            "admitted_coarse",
            "axum",
            "axum_served",
            "cold",
            "exempt",
            "growth",
            "http",
            "machine",
            "memory",
            "refused",
            "refused_held",
            "two_threads",
            "waiting",
            "waiting_coarse",
            "waiting_http",
        ]
    );
    assert_every_case_has_its_subjects(&cases);
    assert_ours_allocates_nothing(&cases);
    assert_two_threads_and_memory(&cases);
    for what in [
        "window of 1 s",
        "window of 24 h",
        "10,000 subscribers",
        "1,000 status readers",
    ] {
        let cost = &cases["growth"]["tower-maintenance"][what];
        assert!(cost["ns"].as_f64() > Some(0.0), "{what}");
    }
}

#[test]
fn an_unknown_argument_is_named() {
    let output = peers(&["--quik"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("unknown argument `--quik`"), "{said}");
}

#[test]
fn the_program_is_built_without_test_util_of_tokio() {
    let tree = |package: &str, edges: &str| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--package", package, "--edges", edges])
            .args(["--invert", "tokio"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs this test");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).expect("cargo writes UTF-8")
    };
    let features = tree("peers", "normal,features");
    assert!(features.contains("tokio feature \"time\""), "{features}");
    assert!(!features.contains("test-util"), "{features}");
    // The root package's tests ask for it, so it would show.
    assert!(tree("tower-maintenance", "all,features").contains("tokio feature \"test-util\""));
}
