//! One event is one line of the log, whatever characters are in names, reasons and the partner's
//! texts.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod support;

use std::io;

use http::{Request, Response};
use observability_tests::app::block_on;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_maintenance::{
    Exemption, Hold, Indicator, MaintenanceLayer, Mode, PartnerStatus, Policy, Refused,
    http::{Refusals, RouteClasses, Statuspage},
};

/// Text that forges a line, colours a terminal, reverses the text direction, and ends a C string.
fn evil(what: &str) -> String {
    let forged = "2026-01-01T00:00:00.000000Z  WARN tower_maintenance: recovered";
    format!(
        "{what}\n{forged}\r\n{forged}\r\u{85}\u{2028}\u{2029}\
         \u{1b}[2K\u{1b}[31mred\u{9b}0m\u{8}\u{b}\u{c}\u{7f}\0 \u{202e}\u{2066}\u{61c}\u{200f}end"
    )
}

fn is_treacherous(c: char) -> bool {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}'];
    c.is_control()
        || ('\u{2028}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
        || turns.contains(&c)
}

/// Tells whether a line begins as the formatter begins a line: time, level, target.
fn begins_an_event(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let time = words.next().is_some_and(|word| {
        word.len() == "2026-01-01T00:00:00.000000Z".len() && word.ends_with('Z')
    });
    let level = words.next();
    let target = words.next() == Some("tower_maintenance:");
    time && matches!(level, Some("INFO" | "WARN" | "ERROR")) && target
}

fn one_line(what: &str, text: &str) {
    assert!(!text.contains(is_treacherous), "{what}: {text:?}");
}

/// Does everything that writes a line, with a forged text for each argument that takes a text.
fn live(layer: &MaintenanceLayer) {
    let handle = layer.handle();
    let (actor, reason) = (evil("actor"), evil("reason"));
    let (actor, reason) = (&*actor, &*reason);
    let hold = || Hold::new(actor, reason).with_message(evil("message"));
    let call = || {
        let partner = layer.layer(service_fn(async |()| Ok::<_, io::Error>(())));
        block_on(partner.oneshot(()))
    };

    handle.engage(hold()).unwrap();
    one_line("held", &handle.status().to_string());
    handle.engage(hold().read_only()).unwrap();
    one_line("held read-only", &handle.status().to_string());
    let error = call().unwrap_err();
    let refused = Refused::find(&error).unwrap();
    one_line("a refusal", &refused.to_string());
    one_line("a refusal's Debug", &format!("{refused:?}"));
    one_line("the error", &error.to_string());
    handle.release(actor, reason).unwrap();

    handle.trip(actor, reason).unwrap();
    one_line("tripped", &handle.status().to_string());
    handle.probe_now(actor, reason).unwrap();
    one_line("probing", &handle.status().to_string());
    while handle.mode() == Mode::Probing {
        call().unwrap();
    }
    assert_eq!(handle.mode(), Mode::Serving);
    one_line("serving", &handle.status().to_string());

    handle.bypass(actor, reason).unwrap();
    handle.engage(hold()).unwrap();
    one_line("bypassed", &handle.status().to_string());
    handle.release(actor, reason).unwrap();
    handle.end_bypass(actor, reason).unwrap();
    handle.dry_run(actor, reason).unwrap();
    handle.arm(actor, reason).unwrap();
    handle.reset(actor, reason).unwrap();

    let policy = Policy::default().with_min_calls(7);
    handle.replace_policy(&policy, actor, reason).unwrap();
    let exemptions = [Exemption::call(&evil("call"), &evil("why"))];
    handle
        .replace_exemptions(exemptions, actor, reason)
        .unwrap();

    let says = PartnerStatus::new(Indicator::Major, &evil("words")).with_source(&evil("source"));
    handle.report_partner_status(says);
    handle.partner_unreadable(&evil("error"));
    one_line("the partner's word", &handle.status().to_string());
}

fn evil_layer() -> MaintenanceLayer {
    let layer = MaintenanceLayer::builder(&evil("partner"))
        .cache_tags([evil("tag")])
        .cache_urls([evil("url")]);
    let layer = layer.build().unwrap();
    // The view names calls, so that exemptions of calls can be put in force later.
    let _ = layer.named(|(): &()| "prices");
    layer
}

#[test]
fn without_escapes_the_text_forges_lines() {
    let log = support::logged(|| {
        tracing::warn!(target: "tower_maintenance", reason = %evil("reason"), "held");
    });
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(begins_an_event(lines[1]), "forged: {}", lines[1]);
    assert!(log.contains(is_treacherous));
}

#[test]
fn every_line_is_one_event_whatever_operators_and_the_partner_say() {
    let layer = evil_layer();
    let handle = layer.handle();
    let mut listener = handle.events();
    let log = support::logged(|| live(&layer));

    // One line for each event, and two for the partner's statement.
    let mut events = 2;
    while block_on(async {
        tokio::select! {
            biased;
            event = listener.recv() => event.is_some(),
            () = std::future::ready(()) => false,
        }
    }) {
        events += 1;
    }
    let lines: Vec<_> = log.split_terminator('\n').collect();
    assert_eq!(lines.len(), events, "{log}");
    for line in &lines {
        one_line("a line", line);
        assert!(begins_an_event(line), "{line}");
    }

    let said = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    for text in [
        "tripped",
        "serving again",
        "recovered: caches are told",
        "held by an operator",
        "the operator's hold ended",
        "switched",
        "policy replaced",
        "exemptions replaced",
        "window reset",
        "the partner says",
        "the partner's word cannot be read",
    ] {
        assert!(said(text) >= 1, "nothing says `{text}`");
    }
    // Nothing is lost: the name is escaped, and is the same in every line.
    assert_eq!(said("partner=partner\\u{a}2026-01-01"), lines.len());
    assert!(said("actor=actor\\u{a}2026-01-01") >= 1);
}

#[test]
fn every_error_is_one_line_whatever_it_names() {
    let name = evil("name");
    let layer = evil_layer();
    let handle = layer.handle();
    let twice = [Exemption::call(&name, "why"), Exemption::call(&name, "why")];
    let reasonless = [Exemption::call(&name, "")];
    let pattern = [Exemption::route(&format!("/{{{name}"), "why")];
    let mut errors = vec![
        handle.release(&*name, "not held").unwrap_err().to_string(),
        handle.trip(name.repeat(9), "long").unwrap_err().to_string(),
    ];
    for exemptions in [&twice[..], &reasonless, &pattern] {
        let replaced = handle.replace_exemptions(exemptions.to_vec(), "on-call", "drill");
        errors.push(replaced.unwrap_err().to_string());
    }
    let classes = RouteClasses::new().read(&name).write(&name);
    errors.push(
        layer
            .routes()
            .with_route_classes(classes)
            .unwrap_err()
            .to_string(),
    );
    let classes = RouteClasses::new().read(&format!("/{{{name}"));
    errors.push(
        layer
            .routes()
            .with_route_classes(classes)
            .unwrap_err()
            .to_string(),
    );
    let url = Refusals::new().status_url(&name).unwrap_err();
    errors.push(url.to_string());
    let nobody =
        service_fn(async |_: Request<String>| Err::<Response<String>, _>(BoxError::from("")));
    let page = handle.follow_statuspage(Statuspage::new(nobody, &name));
    errors.push(page.err().unwrap().to_string());
    for error in errors {
        one_line("an error", &error);
    }
}
