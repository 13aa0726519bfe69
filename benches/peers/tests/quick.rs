//! The quick run ends well, which it only does when every breaker has tripped and recovered, and its
//! JSON has what it should. What it measured is nobody's business here.

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

/// Runs it where no valgrind is found: in a build that is not optimised, counting takes minutes.
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
            "exempt",
            "growth",
            "http",
            "memory",
            "refused",
            "refused_held",
            "two_threads"
        ]
    );

    for case in ["admitted", "admitted_coarse", "refused"] {
        for subject in BREAKERS.into_iter().chain(["bare", "tower::load_shed"]) {
            assert_is_a_cost(subject, &cases[case][subject]);
        }
    }
    for case in ["refused_held", "http", "exempt", "axum", "axum_served"] {
        for subject in ["bare", "tower-maintenance"] {
            assert_is_a_cost(subject, &cases[case][subject]);
        }
    }
    for subject in BREAKERS {
        for state in ["admitted", "refused"] {
            let speedup = &cases["two_threads"][subject][state]["speedup"];
            assert!(speedup.as_f64() > Some(0.0), "{subject}: {state}");
        }
        for memory in cases["memory"][subject]
            .as_object()
            .expect(subject)
            .values()
        {
            assert!(
                memory["bytes_built"].as_i64() > Some(0),
                "{subject}: {memory}"
            );
            assert!(memory["bytes_filled"].is_i64(), "{subject}: {memory}");
        }
    }
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
    assert!(said.contains("what is `--quik`?"), "{said}");
}
