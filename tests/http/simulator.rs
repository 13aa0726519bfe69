//! The partner simulator does what its documentation promises.

use std::{io, pin::pin, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use test_support::{HttpClient, alive_tasks, at_once, http_client, millis, now, secs, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Service, ServiceExt};
use tower_maintenance::testing::{
    Answer, CallEnd, Counts, PartnerError, PartnerServer, Phase, Script, SimulatedPartner,
};

const fn status(status: u16, retry_after: Option<Duration>) -> PartnerError {
    PartnerError::Status {
        status,
        retry_after,
    }
}

const fn answered(status: u16, success: bool) -> CallEnd {
    CallEnd::Answered { status, success }
}

async fn call(partner: &SimulatedPartner) -> Result<Answer, PartnerError> {
    partner.clone().oneshot("a call").await
}

/// Which of the first `n` calls succeed.
async fn run(partner: &SimulatedPartner, n: usize) -> String {
    let mut run = String::new();
    for _ in 0..n {
        run.push(if call(partner).await.is_ok() {
            '+'
        } else {
            '-'
        });
    }
    run
}

mod script {
    use super::*;

    #[test]
    fn a_phase_rules_from_its_first_instant_to_the_first_of_the_next() {
        let script = Script::builder()
            .then(Phase::Healthy, secs(10))
            .then(Phase::failing(0.5), secs(30))
            .finally(Phase::Hanging)
            .unwrap();
        let almost = |d: Duration| d - Duration::from_nanos(1);
        assert_eq!(script.phase_at(Duration::ZERO), Phase::Healthy);
        assert_eq!(script.phase_at(almost(secs(10))), Phase::Healthy);
        assert_eq!(script.phase_at(secs(10)), Phase::failing(0.5));
        assert_eq!(script.phase_at(almost(secs(40))), Phase::failing(0.5));
        assert_eq!(script.phase_at(secs(40)), Phase::Hanging);
        assert_eq!(script.phase_at(Duration::MAX), Phase::Hanging);
        assert_eq!(script.next_change(Duration::ZERO), Some(secs(10)));
        assert_eq!(script.next_change(secs(10)), Some(secs(40)));
        assert_eq!(script.next_change(secs(40)), None);
        let begins: Vec<_> = script.phases().map(|(at, _)| at).collect();
        assert_eq!(begins, [Duration::ZERO, secs(10), secs(40)]);
    }

    #[test]
    fn speeding_up_divides_every_span_of_time() {
        let script = Script::builder()
            .then(Phase::slow(secs(4)), secs(60))
            .then(Phase::flapping(secs(6)), secs(60))
            .finally(Phase::retry_after(secs(20)))
            .unwrap()
            .with_latency(millis(100));
        let fast = script.sped_up(2.0).unwrap();
        let phases: Vec<_> = fast.phases().collect();
        assert_eq!(
            phases,
            [
                (Duration::ZERO, Phase::slow(secs(2))),
                (secs(30), Phase::flapping(secs(3))),
                (secs(60), Phase::retry_after(secs(10))),
            ]
        );
        assert_eq!(fast.latency(), millis(50));
        assert_eq!(fast.sped_up(0.5).unwrap(), script);
    }

    #[test]
    fn a_fault_names_where_what_and_what_would_be_right() {
        let always = |phase| Script::always(phase).unwrap_err().to_string();
        let speed = |script: &Script, factor| script.sped_up(factor).unwrap_err().to_string();
        let lasting = |length| {
            let script = Script::builder().then(Phase::Hanging, length);
            script.finally(Phase::Healthy).unwrap_err().to_string()
        };
        for (share, shown) in [
            (f64::NAN, "NaN"),
            (-0.1, "-0.1"),
            (1.5, "1.5"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(
                always(Phase::failing(share)),
                format!("phase 1 of 1 (failing): share is {shown}, must be within 0 and 1")
            );
        }
        assert_eq!(
            always(Phase::failing_with_200(2.0)),
            "phase 1 of 1 (failing with 200): share is 2, must be within 0 and 1"
        );
        assert_eq!(
            always(Phase::failing(1.0).with_status(101)),
            "phase 1 of 1 (failing): status is 101, must be within 200 and 599"
        );
        assert_eq!(
            always(Phase::retry_after(secs(1)).with_status(502)),
            "phase 1 of 1 (retry after): status is 502, must be 503 or 429"
        );
        assert_eq!(
            always(Phase::flapping(Duration::ZERO)),
            "phase 1 of 1 (flapping): every is 0ns, must be longer than zero"
        );
        assert_eq!(
            lasting(Duration::ZERO),
            "phase 1 of 2 (hanging): length is 0ns, must be longer than zero"
        );
        let script = Script::builder()
            .then(Phase::Healthy, Duration::MAX)
            .then(Phase::Hanging, secs(1))
            .finally(Phase::Healthy)
            .unwrap_err();
        assert_eq!(script.phase_number(), Some(2));
        assert_eq!((script.field(), script.value()), ("length", "1s"));
        assert_eq!(script.allowed(), "such that the sum of all fits a Duration");

        let script = Script::builder()
            .then(Phase::Healthy, secs(1))
            .finally(Phase::Healthy)
            .unwrap();
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(
                speed(&script, factor),
                format!("speed: factor is {factor}, must be finite and above 0")
            );
        }
        let allowed = "such that every phase lasts at least 1 ns and fits a Duration";
        assert!(speed(&script, 1e12).ends_with(allowed));
        assert!(speed(&script, 1e-300).ends_with(allowed));
        let flapping = Script::always(Phase::flapping(secs(1))).unwrap();
        assert!(speed(&flapping, 1e12).ends_with(allowed));
    }

    #[test]
    fn the_borders_of_a_share_are_shares() {
        for share in [0.0, 1.0] {
            assert!(Script::always(Phase::failing(share)).is_ok());
        }
    }

    #[test]
    fn phases_show_as_one_would_say_them() {
        assert_eq!(
            Phase::failing(0.07).to_string(),
            "failing (7 % of calls with 503)"
        );
        assert_eq!(
            Phase::retry_after(secs(20)).with_status(429).to_string(),
            "retry after (20s, 429)"
        );
        assert_eq!(Phase::ResetMidBody.to_string(), "reset mid-body");
    }
}

mod plain_service {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_phase_does_what_it_says() {
        let partner = SimulatedPartner::healthy();
        let answer = call(&partner).await.unwrap();
        assert_eq!((answer.status, answer.success), (200, true));
        assert_eq!(answer.body(), r#"{"success": true, "n": 1}"#);

        partner.switch_to(Phase::slow(secs(3))).unwrap();
        let began = now();
        assert!(call(&partner).await.unwrap().success);
        assert_eq!(began.elapsed(), secs(3));

        partner.switch_to(Phase::failing(1.0)).unwrap();
        assert_eq!(call(&partner).await, Err(status(503, None)));
        partner
            .switch_to(Phase::failing(1.0).with_status(404))
            .unwrap();
        let answer = call(&partner).await.unwrap();
        assert_eq!((answer.status, answer.success), (404, false));

        partner.switch_to(Phase::failing_with_200(1.0)).unwrap();
        let answer = call(&partner).await.unwrap();
        assert_eq!((answer.status, answer.success), (200, false));
        let body: serde_json::Value = serde_json::from_str(&answer.body()).unwrap();
        assert_eq!(body["success"], false);
        assert_eq!(body["reasons"][0]["code"], 50_000_060);

        partner.switch_to(Phase::Hanging).unwrap();
        assert!(
            tokio::time::timeout(secs(86_400), call(&partner))
                .await
                .is_err()
        );

        partner.switch_to(Phase::ConnectionRefused).unwrap();
        assert_eq!(call(&partner).await, Err(PartnerError::ConnectionRefused));

        partner.switch_to(Phase::ResetMidBody).unwrap();
        assert_eq!(call(&partner).await, Err(PartnerError::ConnectionReset));

        partner.switch_to(Phase::retry_after(secs(20))).unwrap();
        assert_eq!(call(&partner).await, Err(status(503, Some(secs(20)))));
        partner
            .switch_to(Phase::retry_after(secs(20)).with_status(429))
            .unwrap();
        let answer = call(&partner).await.unwrap();
        assert_eq!((answer.status, answer.retry_after), (429, Some(secs(20))));

        partner.mend();
        assert!(call(&partner).await.unwrap().success);
        partner.break_down();
        assert_eq!(call(&partner).await, Err(status(503, None)));

        let ends: Vec<_> = partner.log().iter().map(|call| call.end.unwrap()).collect();
        assert_eq!(
            ends,
            [
                answered(200, true),
                answered(200, true),
                answered(503, false),
                answered(404, false),
                answered(200, false),
                CallEnd::Hung,
                CallEnd::ConnectionRefused,
                CallEnd::ConnectionReset,
                answered(503, false),
                answered(429, false),
                answered(200, true),
                answered(503, false),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn flapping_fails_first_and_changes_on_time() {
        let script = Script::builder()
            .then(Phase::Healthy, secs(7))
            .finally(Phase::flapping(secs(10)))
            .unwrap();
        let partner = SimulatedPartner::new(script, 0);
        let mut seen = String::new();
        for _ in 0..8 {
            seen += &run(&partner, 1).await;
            tokio::time::sleep(secs(5)).await;
        }
        // At 0, 5, | 10, 15, | 20, 25, | 30, 35; flapping from 7 on, changing at 17, 27, 37.
        assert_eq!(seen, "++--++--");
    }

    #[tokio::test(start_paused = true)]
    async fn the_base_latency_is_everywhere_but_in_slow_and_refused() {
        let partner = SimulatedPartner::new(Script::healthy().with_latency(millis(40)), 0);
        for (phase, latency) in [
            (Phase::Healthy, millis(40)),
            (Phase::failing(1.0), millis(40)),
            (Phase::failing_with_200(1.0), millis(40)),
            (Phase::ResetMidBody, millis(40)),
            (Phase::retry_after(secs(9)), millis(40)),
            (Phase::slow(millis(10)), millis(10)),
            (Phase::ConnectionRefused, Duration::ZERO),
        ] {
            partner.switch_to(phase).unwrap();
            let began = now();
            let _ = call(&partner).await;
            assert_eq!(began.elapsed(), latency, "{phase}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn latency_counts_from_the_call_not_from_the_first_poll() {
        let partner = SimulatedPartner::new(Script::healthy().with_latency(secs(2)), 0);
        let began = now();
        let answer = partner.clone().call("a call");
        tokio::time::sleep(secs(1)).await;
        answer.await.unwrap();
        assert_eq!(began.elapsed(), secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_latency_there_is_overflows_nothing() {
        let partner = SimulatedPartner::healthy();
        partner.switch_to(Phase::slow(Duration::MAX)).unwrap();
        let call = tokio::time::timeout(secs(86_400), call(&partner));
        assert!(call.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn same_seed_same_run_and_another_seed_another_run() {
        let script = Script::always(Phase::failing(0.5)).unwrap();
        let seeded = |seed| SimulatedPartner::new(script.clone(), seed);
        let first = run(&seeded(7), 200).await;
        assert_eq!(run(&seeded(7), 200).await, first);
        let mut runs = vec![first];
        for seed in [0, 1, 2, 3, u64::MAX] {
            runs.push(run(&seeded(seed), 200).await);
        }
        for (i, one) in runs.iter().enumerate() {
            for other in &runs[i + 1..] {
                assert_ne!(one, other);
                // The run is not the same with an offset either.
                assert!((1..10).all(|by| one[by..] != other[..200 - by]));
            }
        }
    }

    /// Pinned: a change of this line breaks the promise that a seed gives the same run in every
    /// release, and so breaks users' tests.
    #[tokio::test(start_paused = true)]
    async fn a_seed_gives_the_same_run_in_every_release() {
        let script = Script::always(Phase::failing(0.5)).unwrap();
        let partner = SimulatedPartner::new(script, 42);
        assert_eq!(run(&partner, 32).await, "+-+-++-+++++-++-+++--++--+++-+++");
    }

    #[tokio::test(start_paused = true)]
    async fn time_decides_nothing_but_the_phase() {
        let script = Script::always(Phase::failing(0.5)).unwrap();
        let hasty = run(&SimulatedPartner::new(script.clone(), 7), 50).await;
        let partner = SimulatedPartner::new(script.with_latency(secs(3)), 7);
        let mut slow = String::new();
        for i in 0..50 {
            tokio::time::sleep(secs(i)).await;
            slow += &run(&partner, 1).await;
        }
        assert_eq!(hasty, slow);
    }

    #[tokio::test(start_paused = true)]
    async fn about_the_share_of_calls_fails() {
        for (share, at_least, at_most) in [
            (0.0, 0, 0),
            (0.1, 850, 1150),
            (0.5, 4750, 5250),
            (1.0, 10_000, 10_000),
        ] {
            for seed in 0..5 {
                let script = Script::always(Phase::failing(share)).unwrap();
                let partner = SimulatedPartner::new(script, seed);
                let failed = run(&partner, 10_000).await.matches('-').count();
                assert!((at_least..=at_most).contains(&failed), "{share}: {failed}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_of_a_call_is_settled_when_it_begins() {
        let partner = SimulatedPartner::healthy();
        partner.switch_to(Phase::slow(secs(5))).unwrap();
        let slow = partner.clone().call("a call");
        partner.switch_to(Phase::Hanging).unwrap();
        let hanging = partner.clone().call("a call");
        partner.mend();
        assert!(slow.await.unwrap().success);
        assert!(tokio::time::timeout(secs(3600), hanging).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_rules_until_a_command_and_again_afterwards() {
        let script = Script::builder()
            .then(Phase::Healthy, secs(10))
            .finally(Phase::Hanging)
            .unwrap();
        let partner = SimulatedPartner::new(script, 0);
        partner.break_down();
        tokio::time::sleep(secs(20)).await;
        assert_eq!(partner.phase(), Phase::failing(1.0));
        partner.follow_script();
        assert_eq!(partner.phase(), Phase::Hanging, "its clock went on");
        partner.break_down();
        partner.restart();
        assert_eq!(partner.phase(), Phase::Healthy);
        assert_eq!(partner.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_phase_that_cannot_be_leaves_the_one_in_force() {
        let partner = SimulatedPartner::healthy();
        partner.switch_to(Phase::Hanging).unwrap();
        let error = partner.switch_to(Phase::failing(f64::NAN)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "phase to switch to (failing): share is NaN, must be within 0 and 1"
        );
        assert_eq!(error.phase_number(), None);
        assert_eq!(partner.phase(), Phase::Hanging);
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_is_the_same_run_again() {
        let script = Script::builder()
            .then(Phase::failing(0.5), secs(30))
            .finally(Phase::flapping(secs(3)))
            .unwrap()
            .with_latency(secs(1));
        let partner = SimulatedPartner::new(script, 9);
        let first = (run(&partner, 60).await, partner.log(), partner.counts());
        partner.restart();
        assert_eq!(partner.counts(), Counts::default());
        let second = (run(&partner, 60).await, partner.log(), partner.counts());
        assert_eq!(first, second);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_from_before_a_restart_ends_nothing_of_the_new_run() {
        let partner = SimulatedPartner::healthy();
        partner.switch_to(Phase::Hanging).unwrap();
        let old = partner.clone().call("a call");
        partner.restart();
        partner.switch_to(Phase::Hanging).unwrap();
        assert_eq!((partner.calls(), partner.in_flight()), (0, 1));
        let new = partner.clone().call("a call");
        drop(old);
        assert_eq!((partner.calls(), partner.in_flight()), (1, 1));
        assert_eq!(partner.counts().hung, 0);
        assert_eq!(partner.log()[0].end, None);
        drop(new);
        assert_eq!((partner.in_flight(), partner.counts().hanging), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_knows_when_each_call_began_and_ended_and_how() {
        let script = Script::builder()
            .then(Phase::slow(secs(2)), secs(10))
            .finally(Phase::Hanging)
            .unwrap();
        let partner = SimulatedPartner::new(script, 0);
        call(&partner).await.unwrap();
        let dropped = partner.clone().call("a call");
        tokio::time::sleep(secs(1)).await;
        drop(dropped);
        tokio::time::sleep(secs(10)).await;
        let hanging = partner.clone().call("a call");

        let seen: Vec<_> = partner
            .log()
            .iter()
            .map(|call| (call.number, call.began, call.ended, call.end))
            .collect();
        assert_eq!(
            seen,
            [
                (1, secs(0), Some(secs(2)), Some(answered(200, true))),
                (2, secs(2), Some(secs(3)), Some(CallEnd::Dropped)),
                (3, secs(13), None, None),
            ]
        );
        assert_eq!(partner.log()[2].phase, Phase::Hanging);
        assert_eq!((partner.in_flight(), partner.counts().hanging), (1, 1));
        drop(hanging);
        let counts = partner.counts();
        assert_eq!((counts.in_flight, counts.hanging, counts.hung), (0, 0, 1));
        assert_eq!((counts.succeeded, counts.dropped), (1, 1));
        assert_eq!(counts.calls, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_forgets_the_oldest_the_counts_forget_nothing() {
        let partner = SimulatedPartner::healthy();
        partner.switch_to(Phase::Hanging).unwrap();
        let first = partner.clone().call("a call");
        partner.mend();
        for _ in 0..100_000 {
            call(&partner).await.unwrap();
        }
        let log = partner.log();
        assert_eq!(log.len(), 100_000);
        assert_eq!((log[0].number, log[99_999].number), (2, 100_001));
        assert!(log.iter().all(|call| call.end == Some(answered(200, true))));
        drop(first);
        assert_eq!(partner.counts().hung, 1);
        assert!(
            partner
                .log()
                .iter()
                .all(|call| call.end == Some(answered(200, true)))
        );
        assert_eq!(partner.calls(), 100_001);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn counts_add_up_whoever_calls() {
        let partner =
            SimulatedPartner::new(Script::always(Phase::failing_with_200(0.3)).unwrap(), 5);
        let callers = (0..8).map(|_| {
            let partner = partner.clone();
            tokio::spawn(async move { run(&partner, 500).await })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        let alone = SimulatedPartner::new(partner.script().clone(), 5);
        run(&alone, 4000).await;
        assert_eq!(
            partner.counts(),
            alone.counts(),
            "numbers decide, not threads"
        );
        let numbers: Vec<_> = partner.log().iter().map(|call| call.number).collect();
        assert!(numbers.iter().copied().eq(1..=4000));
    }

    #[test]
    fn a_partner_without_latency_needs_no_runtime() {
        let partner = SimulatedPartner::healthy();
        let answered = at_once(partner.clone().call("a call"));
        assert!(matches!(answered, Some(Ok(_))));
    }

    #[test]
    fn the_partner_and_its_futures_go_anywhere() {
        fn goes_anywhere<T: Send + Sync + 'static>(_: &T) {}
        let mut partner = SimulatedPartner::healthy();
        goes_anywhere(&partner);
        goes_anywhere(&Service::<&str>::call(&mut partner, "a call"));
        let mut http = partner.over_http();
        goes_anywhere(&http);
        goes_anywhere(&http.call(http::Request::new(())));
    }
}

mod http_in_memory {
    use super::*;

    async fn get(
        partner: &SimulatedPartner,
        path: &str,
    ) -> Result<(http::response::Parts, Result<Bytes, PartnerError>), PartnerError> {
        let request = http::Request::get(path).body(()).unwrap();
        let response = partner.over_http().oneshot(request).await?;
        let (parts, body) = response.into_parts();
        Ok((parts, body.collect().await.map(|body| body.to_bytes())))
    }

    #[tokio::test(start_paused = true)]
    async fn every_phase_does_what_it_says() {
        let partner = SimulatedPartner::new(Script::healthy().with_latency(secs(1)), 0);
        let began = now();
        let (head, body) = get(&partner, "/v1/prices?page=2").await.unwrap();
        assert_eq!(began.elapsed(), secs(1));
        assert_eq!(head.status, 200);
        assert_eq!(head.headers["content-type"], "application/json");
        let body: serde_json::Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"success": true, "path": "/v1/prices", "n": 1})
        );

        partner
            .switch_to(Phase::failing(1.0).with_status(502))
            .unwrap();
        let (head, body) = get(&partner, "/").await.unwrap();
        assert_eq!(head.status, 502);
        assert!(body.unwrap().starts_with(br#"{"success": false"#));

        partner.switch_to(Phase::failing_with_200(1.0)).unwrap();
        let (head, body) = get(&partner, "/").await.unwrap();
        assert_eq!(head.status, 200);
        assert!(body.unwrap().starts_with(br#"{"success": false"#));

        partner.switch_to(Phase::ConnectionRefused).unwrap();
        let error = get(&partner, "/").await.unwrap_err();
        assert_eq!(error, PartnerError::ConnectionRefused);

        partner.switch_to(Phase::ResetMidBody).unwrap();
        let (head, body) = get(&partner, "/").await.unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(body.unwrap_err(), PartnerError::ConnectionReset);

        partner.switch_to(Phase::Hanging).unwrap();
        let call = tokio::time::timeout(secs(3600), get(&partner, "/"));
        assert!(call.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_after_is_rounded_up_to_whole_seconds() {
        let partner = SimulatedPartner::healthy();
        for (after, header) in [
            (Duration::ZERO, "0"),
            (millis(1), "1"),
            (secs(20), "20"),
            (millis(20_001), "21"),
            (Duration::MAX, "18446744073709551615"),
        ] {
            let phase = Phase::retry_after(after).with_status(429);
            partner.switch_to(phase).unwrap();
            let (head, _) = get(&partner, "/").await.unwrap();
            assert_eq!(head.status, 429);
            assert_eq!(head.headers["retry-after"], header);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_body_promises_more_than_comes() {
        let partner = SimulatedPartner::healthy();
        partner.switch_to(Phase::ResetMidBody).unwrap();
        // The last body is too short to be halved.
        for good in ["0123456789", "ab", "a", ""] {
            let http = partner
                .over_http()
                .healthy_with(move |_| http::Response::new(Bytes::from(good)));
            let response = http.oneshot(http::Request::new(())).await.unwrap();
            let promised: usize = response.headers()["content-length"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            let mut body = response.into_body();
            let half = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(!half.is_empty() && half.len() < promised, "{good}");
            assert!(good.len() < 2 || good.starts_with(std::str::from_utf8(&half).unwrap()));
            let error = body.frame().await.unwrap().unwrap_err();
            assert_eq!(error, PartnerError::ConnectionReset);
            assert!(body.frame().await.is_none());
        }
        assert_eq!(partner.counts().reset, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_lasts_until_its_body_is_read_or_dropped() {
        let partner = SimulatedPartner::healthy();
        let get = || {
            let request = http::Request::get("/").body(()).unwrap();
            partner.over_http().oneshot(request)
        };
        let read = get().await.unwrap();
        assert_eq!(partner.in_flight(), 1);
        read.into_body().collect().await.unwrap();
        assert_eq!((partner.in_flight(), partner.counts().succeeded), (0, 1));
        drop(get().await.unwrap());
        assert_eq!((partner.in_flight(), partner.counts().dropped), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_a_body_is_complete_at_once() {
        let partner = SimulatedPartner::healthy();
        let head = http::Request::head("/").body(()).unwrap();
        drop(partner.over_http().oneshot(head).await.unwrap());
        assert_eq!(partner.counts().succeeded, 1);
        for status in [204, 304] {
            let phase = Phase::failing(1.0).with_status(status);
            partner.switch_to(phase).unwrap();
            drop(
                partner
                    .over_http()
                    .oneshot(http::Request::new(()))
                    .await
                    .unwrap(),
            );
        }
        assert_eq!((partner.counts().failed, partner.counts().dropped), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_has_method_and_target() {
        let partner = SimulatedPartner::healthy();
        for (method, target) in [
            ("GET", "/v1/prices?page=2"),
            ("POST", "/v1/prices"),
            ("GET", "/"),
        ] {
            let request = http::Request::builder()
                .method(method)
                .uri(target)
                .body(())
                .unwrap();
            partner.over_http().oneshot(request).await.unwrap();
        }
        call(&partner).await.unwrap();
        let log = partner.log();
        let targets: Vec<_> = log.iter().map(|call| call.target.as_deref()).collect();
        assert_eq!(
            targets,
            [
                Some("GET /v1/prices?page=2"),
                Some("POST /v1/prices"),
                Some("GET /"),
                None
            ]
        );
        assert_eq!(partner.calls_to("/v1/prices"), 2);
        assert_eq!(partner.calls_to("/v1"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn strange_paths_still_make_json() {
        let partner = SimulatedPartner::healthy();
        let path = "/a\"b";
        let (_, body) = get(&partner, path).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!(body["path"], path);
    }
}

mod server {
    use super::*;

    async fn get(
        client: &HttpClient,
        server: &PartnerServer,
        path: &str,
    ) -> Result<
        (
            http::response::Parts,
            Result<serde_json::Value, hyper::Error>,
        ),
        hyper_util::client::legacy::Error,
    > {
        let uri = format!("{}{path}", server.url()).parse().unwrap();
        let (parts, body) = soon(client.get(uri)).await?.into_parts();
        let body = soon(body.collect()).await;
        let json = |bytes: Bytes| serde_json::from_slice(&bytes).unwrap();
        Ok((parts, body.map(|body| json(body.to_bytes()))))
    }

    async fn connect(server: &PartnerServer) -> io::Result<TcpStream> {
        soon(TcpStream::connect(server.addr())).await
    }

    /// Sends a request and reads until the connection ends.
    async fn ask(stream: &mut TcpStream, request: &str) -> (Vec<u8>, io::Result<()>) {
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(stream).await
    }

    async fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
        let mut all = Vec::new();
        let mut some = [0; 4096];
        loop {
            match soon(stream.read(&mut some)).await {
                Ok(0) => return (all, Ok(())),
                Ok(n) => all.extend_from_slice(&some[..n]),
                Err(error) => return (all, Err(error)),
            }
        }
    }

    const GET: &str = "GET /v1/prices HTTP/1.1\r\nhost: partner\r\n\r\n";

    fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
        let mut source = Some(error);
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return Some(error.kind());
            }
            source = error.source();
        }
        None
    }

    #[tokio::test]
    async fn every_answering_phase_does_what_it_says() {
        let partner = SimulatedPartner::healthy();
        let server = partner.listen().await.unwrap();
        let client = http_client();
        let (head, body) = get(&client, &server, "/v1/prices").await.unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(
            body.unwrap(),
            serde_json::json!({"success": true, "path": "/v1/prices", "n": 1})
        );

        // A connection that is kept alive sees the new phase too.
        partner
            .switch_to(Phase::failing(1.0).with_status(502))
            .unwrap();
        let (head, body) = get(&client, &server, "/").await.unwrap();
        assert_eq!(
            (head.status.as_u16(), &body.unwrap()["success"]),
            (502, &false.into())
        );

        partner.switch_to(Phase::failing_with_200(1.0)).unwrap();
        let (head, body) = get(&client, &server, "/").await.unwrap();
        assert_eq!(
            (head.status.as_u16(), &body.unwrap()["success"]),
            (200, &false.into())
        );

        partner.switch_to(Phase::flapping(secs(3600))).unwrap();
        let (head, _) = get(&client, &server, "/").await.unwrap();
        assert_eq!(head.status, 503);

        partner
            .switch_to(Phase::retry_after(secs(20)).with_status(429))
            .unwrap();
        let (head, _) = get(&client, &server, "/").await.unwrap();
        assert_eq!(head.status, 429);
        assert_eq!(head.headers["retry-after"], "20");

        partner.switch_to(Phase::slow(millis(50))).unwrap();
        let began = now();
        let (head, _) = get(&client, &server, "/").await.unwrap();
        assert_eq!(head.status, 200);
        assert!(began.elapsed() >= millis(50));

        let counts = server.counts();
        assert_eq!((counts.calls, counts.succeeded, counts.failed), (6, 2, 4));
        assert_eq!(server.log().len(), 6);
        soon(server.shutdown()).await.unwrap();
    }

    #[tokio::test]
    async fn any_method_and_body_is_read_and_answered() {
        let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
        let client = http_client();
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "BREW"] {
            let body = Full::new(Bytes::from(vec![b'x'; 1 << 20]));
            let request = http::Request::builder()
                .method(method)
                .uri(format!("{}/v1/charge", server.url()))
                .body(body)
                .unwrap();
            let response = soon(client.request(request)).await.unwrap();
            assert_eq!(response.status(), 200, "{method}");
            soon(response.into_body().collect()).await.unwrap();
        }
        assert_eq!(server.partner().calls_to("/v1/charge"), 7);
        assert_eq!(server.counts().succeeded, 7);
    }

    #[tokio::test]
    async fn the_users_own_answers_are_given_when_all_is_well() {
        let partner = SimulatedPartner::healthy();
        let http = partner.over_http().healthy_with(|request| {
            let invoice = request.uri.path().starts_with("/v1/invoices/");
            http::Response::builder()
                .status(if invoice { 200 } else { 404 })
                .header("x-partner", "yes")
                .body(Bytes::from_static(br#"{"total": 19}"#))
                .unwrap()
        });
        let server = http.listen().await.unwrap();
        let client = http_client();
        let (head, body) = get(&client, &server, "/v1/invoices/7").await.unwrap();
        assert_eq!(
            (head.status.as_u16(), &head.headers["x-partner"]),
            (200, &"yes".parse().unwrap())
        );
        assert_eq!(body.unwrap()["total"], 19);
        let (head, _) = get(&client, &server, "/nowhere").await.unwrap();
        assert_eq!(head.status, 404);
        partner.break_down();
        let (head, _) = get(&client, &server, "/v1/invoices/7").await.unwrap();
        assert_eq!(head.status, 503);
        assert!(!head.headers.contains_key("x-partner"));
    }

    #[tokio::test]
    async fn refused_means_a_closed_port_and_the_same_port_opens_again() {
        let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
        let client = http_client();
        for _ in 0..5 {
            let (head, _) = get(&client, &server, "/").await.unwrap();
            assert_eq!(head.status, 200);

            soon(server.switch_to(Phase::ConnectionRefused))
                .await
                .unwrap();
            let error = connect(&server).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            let error = get(&client, &server, "/").await.unwrap_err();
            assert!(error.is_connect());
            assert_eq!(io_kind(&error), Some(io::ErrorKind::ConnectionRefused));

            soon(server.switch_to(Phase::Healthy)).await.unwrap();
        }
        let (head, _) = get(&client, &server, "/").await.unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(server.counts().calls, 6, "a refused connection is no call");
        soon(server.shutdown()).await.unwrap();
    }

    #[tokio::test]
    async fn refused_cuts_the_connections_there_are() {
        let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
        let mut idle = connect(&server).await.unwrap();
        idle.write_all(GET.as_bytes()).await.unwrap();
        server.partner().until(|counts| counts.succeeded == 1).await;

        soon(server.switch_to(Phase::Hanging)).await.unwrap();
        let mut hanging = connect(&server).await.unwrap();
        hanging.write_all(GET.as_bytes()).await.unwrap();
        soon(server.partner().until(|counts| counts.hanging == 1)).await;

        soon(server.switch_to(Phase::ConnectionRefused))
            .await
            .unwrap();
        let (answer, _) = read_to_end(&mut idle).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
        let (answer, _) = read_to_end(&mut hanging).await;
        assert_eq!(answer, b"");
        let counts = server.counts();
        assert_eq!((counts.in_flight, counts.reset, counts.hung), (0, 1, 0));
        assert_eq!(server.log()[1].end, Some(CallEnd::ConnectionReset));
    }

    #[tokio::test]
    async fn the_port_follows_the_script_and_a_restart_replays_it() {
        let (closed, open) = (Phase::ConnectionRefused, Phase::Healthy);
        for (first, then) in [(closed, open), (open, closed)] {
            let script = Script::builder().then(first, millis(200));
            let script = script.finally(then).unwrap();
            let server = PartnerServer::start(script, 0).await.unwrap();
            let connects_as_in = async |phase| {
                loop {
                    match connect(&server).await.map_err(|error| error.kind()) {
                        Ok(_) => return phase == open,
                        Err(io::ErrorKind::ConnectionRefused) => return phase == closed,
                        // The connection was accepted at the instant of closing.
                        Err(io::ErrorKind::ConnectionReset) => {}
                        Err(kind) => panic!("{kind}"),
                    }
                }
            };
            for _ in 0..2 {
                let as_first = connects_as_in(first).await;
                // On a machine so busy that the phase is over by now this proves nothing.
                assert!(as_first || server.partner().elapsed() >= millis(200));
                soon(async {
                    while !connects_as_in(then).await {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
                assert!(server.partner().elapsed() >= millis(200));
                server.partner().restart();
                soon(server.settled()).await.unwrap();
            }
            soon(server.shutdown()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_script_that_begins_with_a_closed_port_never_opens_it_before() {
        for _ in 0..20 {
            let script = Script::always(Phase::ConnectionRefused).unwrap();
            let server = soon(PartnerServer::start(script, 0)).await.unwrap();
            let error = connect(&server).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_meanwhile_is_waited_for() {
        let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
        soon(server.switch_to(Phase::ConnectionRefused))
            .await
            .unwrap();
        let thief = std::net::TcpListener::bind(server.addr()).unwrap();
        {
            let mut mended = pin!(server.switch_to(Phase::Healthy));
            let early = tokio::time::timeout(millis(50), &mut mended).await;
            assert!(early.is_err(), "the port is taken");
            drop(thief);
            soon(mended).await.unwrap();
        }
        let (head, _) = get(&http_client(), &server, "/").await.unwrap();
        assert_eq!(head.status, 200);
    }

    /// The kernel assigns a bound port to no other socket, unless that asks for it by number.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn while_the_port_is_closed_it_stays_bound() {
        let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
        soon(server.switch_to(Phase::ConnectionRefused))
            .await
            .unwrap();
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        let error = other.bind(server.addr()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let addr = server.addr();
        soon(server.shutdown()).await.unwrap();
        other.bind(addr).unwrap();
    }

    #[tokio::test]
    async fn reset_mid_body_is_a_real_reset_amid_the_body() {
        let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
        soon(server.switch_to(Phase::ResetMidBody)).await.unwrap();
        for _ in 0..20 {
            let mut stream = connect(&server).await.unwrap();
            let (answer, end) = ask(&mut stream, GET).await;
            let answer = String::from_utf8(answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK"));
            let whole = r#"{"success": true, "path": "/v1/prices", "n": 10}"#.len();
            let promised = head
                .split("\r\n")
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap();
            assert!(whole.abs_diff(promised.parse().unwrap()) <= 1);
            assert!(body.starts_with(r#"{"success": true"#) && body.len() <= whole / 2);
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
        let counts = soon(server.partner().until(|counts| counts.in_flight == 0)).await;
        assert_eq!(counts.reset, 20);

        let (head, body) = get(&http_client(), &server, "/").await.unwrap();
        assert_eq!(head.status, 200);
        assert!(body.is_err());
    }

    #[tokio::test]
    async fn a_large_body_is_reset_too() {
        let partner = SimulatedPartner::healthy();
        partner.switch_to(Phase::ResetMidBody).unwrap();
        let http = partner
            .over_http()
            .healthy_with(|_| http::Response::new(Bytes::from(vec![b'x'; 16 << 20])));
        let server = http.listen().await.unwrap();
        let mut stream = connect(&server).await.unwrap();
        let (answer, end) = ask(&mut stream, GET).await;
        assert!(answer.len() <= (8 << 20) + 200);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_call_that_hangs_goes_on_until_its_client_leaves() {
        let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
        let partner = server.partner();
        soon(server.switch_to(Phase::Hanging)).await.unwrap();
        let mut stream = connect(&server).await.unwrap();
        // More than fits the sockets' buffers: the partner reads it before it falls silent.
        let length = 16 << 20;
        let head = format!("POST / HTTP/1.1\r\nhost: partner\r\ncontent-length: {length}\r\n\r\n");
        let request = [head.into_bytes(), vec![b'x'; length]].concat();
        soon(stream.write_all(&request)).await.unwrap();
        soon(partner.until(|counts| counts.hanging == 1)).await;

        soon(server.switch_to(Phase::Healthy)).await.unwrap();
        let (head, _) = get(&http_client(), &server, "/").await.unwrap();
        assert_eq!(head.status, 200, "new requests get the new phase");
        assert_eq!(partner.counts().hanging, 1);
        let nothing = stream.try_read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

        drop(stream);
        let counts = soon(partner.until(|counts| counts.hanging == 0)).await;
        assert_eq!((counts.hung, counts.in_flight), (1, 0));
    }

    #[tokio::test]
    async fn a_client_that_leaves_a_slow_answer_is_a_dropped_call() {
        let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
        let slow = Phase::slow(secs(3600));
        soon(server.switch_to(slow)).await.unwrap();
        let mut stream = connect(&server).await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        soon(server.partner().until(|counts| counts.in_flight == 1)).await;
        drop(stream);
        let counts = soon(server.partner().until(|counts| counts.in_flight == 0)).await;
        assert_eq!((counts.dropped, counts.hung), (1, 0));
    }

    /// After both ways to end a server, no port, connection or task is left.
    #[tokio::test]
    async fn a_server_that_ends_leaves_nothing_behind() {
        let before = alive_tasks();
        for by_drop in [true, false] {
            let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
            let (addr, partner) = (server.addr(), server.partner().clone());
            let mut idle = connect(&server).await.unwrap();
            partner.switch_to(Phase::Hanging).unwrap();
            let mut hanging = connect(&server).await.unwrap();
            hanging.write_all(GET.as_bytes()).await.unwrap();
            soon(partner.until(|counts| counts.hanging == 1)).await;
            assert!(alive_tasks() >= before + 3);

            if by_drop {
                drop(server);
            } else {
                soon(server.shutdown()).await.unwrap();
                assert_eq!(alive_tasks(), before, "shutdown waits for all of them");
                let error = TcpStream::connect(addr).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            }
            assert_eq!(read_to_end(&mut idle).await.0, b"");
            assert_eq!(read_to_end(&mut hanging).await.0, b"");
            soon(async {
                while alive_tasks() > before {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            let error = TcpStream::connect(addr).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(partner.in_flight(), 0);
            assert_eq!(
                partner.counts().reset,
                1,
                "the partner left, not the caller"
            );
        }
    }

    #[tokio::test]
    async fn a_phase_that_cannot_be_is_invalid_input() {
        let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
        let error = soon(server.switch_to(Phase::failing(2.0)))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            "phase to switch to (failing): share is 2, must be within 0 and 1"
        );
        assert_eq!(server.partner().phase(), Phase::Healthy);
    }

    #[tokio::test]
    async fn one_partner_has_all_its_faces_at_once() {
        let partner = SimulatedPartner::healthy();
        let server = partner.listen().await.unwrap();
        call(&partner).await.unwrap();
        let request = http::Request::new(Empty::<Bytes>::new());
        drop(partner.over_http().oneshot(request).await.unwrap());
        let (head, _) = get(&http_client(), &server, "/").await.unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(partner.calls(), 3);
        assert_eq!(server.url(), format!("http://{}", server.addr()));
    }
}
