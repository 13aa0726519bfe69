//! Whose fault the errors of real clients are, and whether the guide's table says the same.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod client;
mod partner;

use std::{fmt::Write as _, fs::File};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use test_support::soon;
use tower_maintenance::MaintenanceLayer;

use self::{
    client::{Call, Client, client, told},
    partner::{Does, nothing, partner},
};

const PAGE: &str = include_str!("../../../../src/guide/errors.md");

/// A row of the table.
struct Case {
    what: &'static str,
    partner: Option<Does>,
    call: Call,
    uri: fn(&str) -> String,
    /// Whether the client has a connection from the call before.
    kept: bool,
    clients: &'static [Client],
}

const ALL: &[Client] = &[Client::HyperUtil, Client::Reqwest, Client::Tonic];
const HTTP: &[Client] = &[Client::HyperUtil, Client::Reqwest];
/// Those that are built with TLS here.
const TLS: &[Client] = &[Client::HyperUtil, Client::Tonic];

impl Case {
    fn new(what: &'static str, partner: impl Into<Option<Does>>) -> Self {
        Self {
            what,
            partner: partner.into(),
            call: Call::default(),
            uri: |addr| format!("http://{addr}/billing.v1.Billing/Charge"),
            kept: false,
            clients: ALL,
        }
    }

    fn calls(mut self, set: impl FnOnce(&mut Call)) -> Self {
        set(&mut self.call);
        self
    }

    fn to(mut self, uri: fn(&str) -> String) -> Self {
        self.uri = uri;
        self
    }

    fn kept(mut self) -> Self {
        self.kept = true;
        self
    }

    /// Only for clients that speak TLS.
    fn tls(mut self) -> Self {
        self.clients = TLS;
        self
    }

    /// Only for clients that speak HTTP/1.1, or that take any URI.
    fn http(mut self) -> Self {
        self.clients = HTTP;
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new("nothing listens", None),
        Case::new("the name does not resolve", None).to(|_| "http://partner.invalid/a/b".into()),
        Case::new("the same, with `of_resolver`", None)
            .to(|_| "http://partner.invalid/a/b".into())
            .calls(|call| call.own_resolver = true),
        Case::new("TLS fails", Does::SpeaksNoTls)
            .to(|addr| format!("https://{addr}/a/b"))
            .tls(),
        Case::new(
            "the partner accepts connections and closes them unread",
            Does::HangsUp,
        ),
        Case::new(
            "a time limit of the client, and the partner hangs",
            Does::Hangs,
        )
        .calls(|call| call.times_out = true),
        Case::new("the answer breaks off", Does::BreaksOff).http(),
        Case::new(
            "a POST on a kept connection, which closes before the answer",
            Does::AnswersOnce,
        )
        .calls(|call| call.post = true)
        .kept()
        .http(),
        Case::new(
            "a POST after a kept connection was closed",
            Does::ClosesIdle,
        )
        .calls(|call| call.post = true)
        .kept()
        .http(),
        Case::new(
            "a graceful `GOAWAY`, and the request was not processed",
            Does::GoesAway,
        )
        .calls(|call| call.http2 = true),
        Case::new("the caller's own upload breaks off, HTTP/1.1", Does::Hangs)
            .calls(|call| (call.post, call.upload_breaks) = (true, true))
            .http(),
        Case::new("the caller's own upload breaks off, HTTP/2", Does::Hangs)
            .calls(|call| (call.post, call.upload_breaks, call.http2) = (true, true, true)),
        Case::new("a relative URI, which is never sent", None)
            .to(|_| "/v1/charges".into())
            .http(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_of_the_guide_says_what_real_clients_do() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut table =
        String::from("| what happens | hyper-util | reqwest | tonic |\n|---|---|---|---|\n");
    for case in cases() {
        write!(table, "| {} |", case.what).unwrap();
        for one in ALL {
            let cell = match case.clients.contains(one) {
                true => verdict(&case, *one).await,
                false => "-",
            };
            if *one == Client::Reqwest && cell != "-" {
                the_wing_says_the_same(&case, cell).await;
            }
            write!(table, " {cell} |").unwrap();
        }
        table.push('\n');
    }
    write!(table, "| this process may open no more files |").unwrap();
    for one in ALL {
        write!(table, " {} |", without_descriptors(*one).await).unwrap();
    }
    for one in [Client::GuardedReqwest, Client::ReqwestMiddleware] {
        assert_eq!(without_descriptors(one).await, "ours");
    }
    table.push('\n');

    assert!(
        PAGE.contains(&table),
        "the page must have this table:\n{table}"
    );
}

#[test]
fn the_closures_of_the_guide_are_those_that_are_tried() {
    let code = include_str!("../../src/lib.rs");
    for name in ["reqwest_calls", "of_reqwest", "tonic_calls", "of_resolver"] {
        let (before, after) = code.split_once(&format!("pub fn {name}(")).unwrap();
        let (body, _) = after.split_once("\n}\n").unwrap();
        let head = before.rsplit("\n\n").next().unwrap();
        let whole = format!("{head}pub fn {name}({body}\n}}\n");
        assert!(
            PAGE.contains(&whole),
            "the page must have this code:\n{whole}"
        );
    }
}

/// The guarded client and the middleware judge as the view with the closures of the guide does.
async fn the_wing_says_the_same(case: &Case, cell: &str) {
    // reqwest's own builder of requests knows that this is no URL: no call begins.
    let cell = match case.what {
        "a relative URI, which is never sent" => "no call",
        _ => cell,
    };
    for one in [Client::GuardedReqwest, Client::ReqwestMiddleware] {
        assert_eq!(verdict(case, one).await, cell, "{}, {one:?}", case.what);
    }
}

async fn verdict(case: &Case, by: Client) -> &'static str {
    let mut there = match case.partner {
        Some(does) => Some(partner(does).await),
        None => None,
    };
    let addr = match &there {
        Some(there) => there.addr,
        None => nothing().await,
    };
    let call = Call {
        uri: (case.uri)(&addr.to_string()),
        ..case.call.clone()
    };
    let mut call = client(by, call);
    if case.kept {
        let error = call(&MaintenanceLayer::new("zuora")).await;
        assert_eq!(error, None, "{}", case.what);
    }
    if case.partner == Some(Does::ClosesIdle) {
        soon(there.as_mut().unwrap().closed.recv()).await;
    }
    let layer = MaintenanceLayer::new("zuora");
    let error = call(&layer).await;
    println!("{}, {by:?}: {error:?}", case.what);
    told(&layer.handle())
}

/// Calls while the process may open no file.
async fn without_descriptors(by: Client) -> &'static str {
    let there = partner(Does::Hangs).await;
    let call = Call {
        uri: format!("http://{}/billing.v1.Billing/Charge", there.addr),
        times_out: true,
        ..Call::default()
    };
    let mut call = client(by, call);
    let layer = MaintenanceLayer::new("zuora");
    let before = getrlimit(Resource::Nofile);
    // The lowest descriptor that is free.
    let free = std::os::fd::AsRawFd::as_raw_fd(&File::open("/dev/null").unwrap());
    let none = Rlimit {
        current: Some(u64::try_from(free).unwrap()),
        ..before
    };
    setrlimit(Resource::Nofile, none).unwrap();
    let error = call(&layer).await;
    setrlimit(Resource::Nofile, before).unwrap();
    println!("no descriptors, {by:?}: {error:?}");
    told(&layer.handle())
}
