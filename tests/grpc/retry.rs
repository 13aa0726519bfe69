//! How long the partner asks to be left alone.

use test_support::{Step, secs};
use tower_maintenance::{Mode, Rule};

use crate::support::*;

/// `google.rpc.Status{details: [RetryInfo{1800 s}]}`, encoded by hand.
fn retry_in_half_an_hour() -> String {
    use base64::Engine;
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    // RetryInfo.retry_delay = Duration{seconds: 1800}
    let info = [0x0a, 0x03, 0x08, 0x88, 0x0e];
    let mut any = vec![0x0a, u8::try_from(url.len()).unwrap()];
    any.extend(url);
    any.extend([0x12, u8::try_from(info.len()).unwrap()]);
    any.extend(info);
    let mut status = vec![0x08, 14, 0x1a, u8::try_from(any.len()).unwrap()];
    status.extend(any);
    base64::engine::general_purpose::STANDARD.encode(status)
}

#[tokio::test(start_paused = true)]
async fn a_wish_of_the_partner_is_the_least_that_the_trip_waits() {
    let details = retry_in_half_an_hour();
    for (code, name, value, waits) in [
        ("14", "grpc-status-details-bin", &*details, secs(1800)),
        ("8", "grpc-status-details-bin", &*details, secs(1800)),
        ("14", "grpc-retry-pushback-ms", "1800000", secs(1800)),
        // Shorter than the wait; never; and invalid.
        ("14", "grpc-retry-pushback-ms", "5000", secs(600)),
        ("14", "grpc-retry-pushback-ms", "-1", secs(600)),
        ("14", "grpc-status-details-bin", "%", secs(600)),
        // The partner answered, and asks for nothing.
        ("0", "grpc-retry-pushback-ms", "1800000", secs(600)),
    ] {
        let asking = fields(&[("grpc-status", code), (name, value)]);
        for answer in [
            with_body(vec![message(), Step::Trailers(asking.clone())]),
            trailers_only(asking),
        ] {
            let stack = Stack::new(answer);
            stack.call(CHARGE).await;
            stack.answers(in_trailers("14"));
            while stack.handle.mode() == Mode::Serving {
                stack.call(CHARGE).await;
            }
            let status = stack.handle.status();
            assert_eq!(status.retry_after, Some(waits), "{code} {name}: {value}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_asked_to_wait_waits_that_long() {
    for code in ["14", "8"] {
        let details = retry_in_half_an_hour();
        let stack = Stack::new(trailers_only(fields(&[
            ("grpc-status", code),
            ("grpc-status-details-bin", &details),
        ])));
        stack.handle.trip("on-call", "drill").unwrap();
        stack.handle.probe_now("on-call", "let us see").unwrap();
        stack.call(PRICES).await;
        let status = stack.handle.status();
        assert_eq!(status.mode, Mode::Maintenance);
        assert_eq!(status.retry_after, Some(secs(1800)));
        let rule = status.evidence.unwrap().rule;
        assert!(matches!(rule, Rule::PartnerAsked { .. }), "{rule:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_reads_the_http_status_that_stands_for_the_code() {
    for (code, shown) in [("14", "503"), ("13", "500"), ("4", "504"), ("2", "500")] {
        let stack = Stack::new(in_trailers(code));
        for _ in 0..3 {
            stack.call(CHARGE).await;
        }
        let status = stack.handle.status().to_string();
        assert!(
            status.contains(&format!("3 calls failed in a row, last: {shown}")),
            "{status}"
        );
    }
}
