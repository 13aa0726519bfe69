//! Settings that are given twice: lists and judges add up, and none is silently without effect.

use std::convert::Infallible;

use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{
    Exemption, Hold, Judge, MaintenanceLayer, Origin, Outcome, Verdict, testing::assert_serving,
};

use crate::support::secs;

/// An answer of the partner's.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Said {
    Fine,
    Slow,
    Down,
    Busy,
}

/// Fails for one answer.
fn fails_at(bad: Said) -> impl Fn(Result<&Said, &Infallible>) -> Outcome + Clone {
    move |result| match result {
        Ok(said) if *said == bad => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(never) => match *never {},
    }
}

fn busy_is_neutral(result: Result<&Said, &Infallible>) -> Verdict {
    match result {
        Ok(Said::Busy | Said::Down) => Verdict::from(Outcome::Neutral)
            .with_code(429)
            .with_retry_after(secs(7)),
        Ok(_) => Outcome::Success.into(),
        Err(never) => match *never {},
    }
}

/// Counts of successes, failures and neutral outcomes, after each answer came once.
macro_rules! counted {
    ($layer:expr) => {{
        let layer = $layer;
        let partner = service_fn(async |said: Said| Ok::<_, Infallible>(said));
        for said in [Said::Fine, Said::Slow, Said::Down, Said::Busy] {
            let _ = layer.layer(partner).oneshot(said).await.unwrap();
        }
        assert_serving(&layer.handle());
        let counts = layer.handle().status().calls;
        (counts.succeeded, counts.failed, counts.neutral)
    }};
}

#[tokio::test(start_paused = true)]
async fn of_several_judges_all_are_asked_and_the_worst_verdict_counts() {
    let layer = || MaintenanceLayer::new("zuora");
    let (slow, down) = (fails_at(Said::Slow), fails_at(Said::Down));
    assert_eq!(counted!(layer().judged_by(slow.clone())), (3, 1, 0));
    let two = layer().judged_by(slow.clone()).judged_by(down.clone());
    assert_eq!(counted!(two), (2, 2, 0));
    // Also if other settings come between, or after.
    let apart = layer()
        .judged_by(busy_is_neutral)
        .named(|_: &Said| "call")
        .may_probe(|_: &Said| true)
        .reads(|_: &Said| true)
        .judged_errors(|_: &Infallible| None::<Origin>)
        .judged_by(slow.clone())
        .judged_by(down.clone())
        .named(|_: &Said| "call");
    assert_eq!(counted!(apart), (1, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn closures_stand_in_for_the_verdict_of_a_judge_alone() {
    #[derive(Debug, Clone, Copy)]
    struct OnlyNames;
    impl Judge<Said, Said, Infallible> for OnlyNames {
        fn name<'r>(&self, _: &'r Said) -> Option<&'r str> {
            Some("prices")
        }
    }
    let layer = MaintenanceLayer::builder("zuora")
        .exempt(Exemption::call("prices", "customers may see what they owe"))
        .build()
        .unwrap()
        .judged(OnlyNames)
        .judged_by(fails_at(Said::Slow));
    assert_eq!(
        counted!(layer.clone()),
        (0, 0, 0),
        "exempt by the name of the judge"
    );
    let layer = MaintenanceLayer::new("zuora")
        .judged(OnlyNames)
        .judged_by(fails_at(Said::Slow));
    assert_eq!(counted!(layer), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_reads_if_one_closure_says_so() {
    let layer = MaintenanceLayer::new("zuora")
        .reads(|said: &Said| *said == Said::Fine)
        .reads(|said: &Said| *said == Said::Slow);
    layer
        .handle()
        .engage(Hold::new("on-call", "drill").read_only())
        .unwrap();
    let partner = layer.layer(service_fn(async |said: Said| Ok::<_, Infallible>(said)));
    for (said, passes) in [(Said::Fine, true), (Said::Slow, true), (Said::Down, false)] {
        let answer = partner.clone().oneshot(said).await;
        assert_eq!(answer.is_ok(), passes, "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_tags_and_urls_of_the_signal_add_up() {
    let layer = MaintenanceLayer::builder("zuora")
        .cache_tags(["prices", "plans"])
        .cache_urls(["/prices"])
        .cache_tags(["invoices"])
        .cache_urls(["/plans"])
        .build()
        .unwrap();
    let handle = layer.handle();
    let mut recoveries = handle.cache_bust();
    handle.engage(Hold::new("on-call", "drill")).unwrap();
    handle.release("on-call", "over").unwrap();
    let bust = recoveries.recv().await.unwrap();
    assert_eq!(*bust.tags, ["prices", "plans", "invoices"]);
    assert_eq!(*bust.urls, ["/prices", "/plans"]);
}

#[cfg(feature = "page-templates")]
#[test]
fn two_ways_to_make_the_page_are_named() {
    use tower_maintenance::http::Refusals;
    use tracing::Level;

    use crate::support::Log;

    let template = "<h1>{{ component }}</h1>";
    let error = Refusals::new()
        .page(|_| String::new())
        .page_template(template)
        .unwrap_err();
    let expected = "page_template is `<h1>{{ component }}</h1>`: allowed is one way to make the page; \
                    `page` is set already";
    assert_eq!(error.to_string(), expected);

    let log = Log::new();
    let _listening = log.listen();
    let _ = Refusals::new()
        .page_template(template)
        .unwrap()
        .page(|_| String::new());
    let warned = log.lines(Level::WARN, &["`page`", "`page_template`"]);
    assert_eq!(warned.len(), 1, "{warned:?}");
    // One way, given again, is a new value.
    let _ = Refusals::new()
        .page(|_| String::new())
        .page(|_| String::new());
    let again = Refusals::new()
        .page_template(template)
        .unwrap()
        .page_template(template);
    assert!(again.is_ok());
    assert_eq!(log.lines(Level::WARN, &["page"]).len(), 1);
}
