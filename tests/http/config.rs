//! What the `http` wing reads from configuration files, and texts that are replaced while running.

use axum::{Router, body::Body, routing::get};
use http::{Method, Request};
use serde::Deserialize;
use tower::ServiceExt;
use tower_maintenance::{
    Exemption, MaintenanceLayer,
    http::{LiveRefusals, Notices, PageTexts, Refusals},
};

use crate::support::hold;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    exempt: Vec<Exemption>,
}

fn exempt(lines: &str) -> Result<Vec<Exemption>, String> {
    let file = toml::from_str::<File>(&format!("[[exempt]]\n{lines}"));
    file.map(|file| file.exempt)
        .map_err(|error| error.message().to_owned())
}

#[test]
fn an_exemption_is_read_by_the_names_of_its_constructors() {
    for (lines, expected) in [
        (
            "route = '/a/{id}'\nwhy = 'x'",
            Exemption::route("/a/{id}", "x"),
        ),
        (
            "http_call = '/v1/a'\nwhy = 'x'",
            Exemption::http_call("/v1/a", "x"),
        ),
        (
            "call = 'invoice.read'\nwhy = 'x'",
            Exemption::call("invoice.read", "x"),
        ),
        (
            "route = '/a'\nwhy = 'x'\nmethods = ['GET', 'POST']\ncounted = true",
            Exemption::route("/a", "x")
                .for_methods([Method::GET, Method::POST])
                .counted(),
        ),
    ] {
        assert_eq!(exempt(lines).unwrap(), [expected]);
    }
}

#[test]
fn a_wrong_exemption_is_named_by_its_endpoint() {
    let endpoint = "give one of `route`, `http_call` and `call`";
    for (lines, said) in [
        ("route = '/a'", "the exemption of `/a` has no reason: say why maintenance must not affect it".into()),
        ("route = '/a'\nwhy = ' '", "the exemption of `/a` has no reason: say why maintenance must not affect it".into()),
        ("why = 'x'", format!("the exemption with the reason `x` has no endpoint: {endpoint}")),
        (
            "route = '/a'\nhttp_call = '/b'\nwhy = 'x'",
            format!("the exemption of `/a` and of `/b` has two endpoints: {endpoint}"),
        ),
        (
            "route = '/a'\nwhy = 'x'\nmethods = ['get']",
            "the exemption of `/a` is for the method `get`: allowed are methods in capitals such as `GET`".into(),
        ),
        (
            "route = '/a'\nwhy = 'x'\nmethods = ['A B']",
            "the exemption of `/a` is for the method `A B`: allowed are methods in capitals such as `GET`".into(),
        ),
        (
            "route = '/a'\nwhy = 'x'\nmethods = []",
            "the exemption of `/a` is for no method: name one, or leave `for_methods` out for all of them".into(),
        ),
        (
            "call = 'a'\nwhy = 'x'\nmethods = ['GET']",
            "the call `a` is exempt by its name, and has no HTTP method: leave `for_methods` out, or exempt a path".into(),
        ),
    ] {
        assert_eq!(exempt(lines).unwrap_err(), said);
    }
    let pattern = exempt("route = '/a/*'\nwhy = 'x'").unwrap_err();
    assert!(
        pattern.starts_with("the pattern `/a/*` is not valid"),
        "{pattern}"
    );
    let unknown = exempt("path = '/a'\nwhy = 'x'").unwrap_err();
    assert!(
        unknown.starts_with("unknown field `path`, expected one of `route`"),
        "{unknown}"
    );
    // No line is forged by what stands in a file.
    let forged = exempt("route = \"/a\\nINFO\"").unwrap_err();
    assert!(!forged.contains('\n'), "{forged}");
}

#[test]
fn texts_that_are_left_out_are_english_and_an_unknown_one_is_an_error() {
    let texts: PageTexts =
        toml::from_str("title = '{component} ruht'\nright_to_left = true").unwrap();
    let mut expected = PageTexts::english();
    expected.title = "{component} ruht".into();
    expected.right_to_left = true;
    assert_eq!(texts, expected);
    let written = toml::to_string(&texts).unwrap();
    assert_eq!(toml::from_str::<PageTexts>(&written).unwrap(), texts);
    let unknown = toml::from_str::<PageTexts>("titel = 'x'").unwrap_err();
    assert!(
        unknown
            .message()
            .starts_with("unknown field `titel`, expected one of `title`")
    );
}

#[tokio::test]
async fn replaced_refusals_are_in_force_at_the_gate_in_handlers_and_in_notices() {
    let live = LiveRefusals::new(Refusals::new().component("Billing"));
    let layer = MaintenanceLayer::builder("zuora")
        .refusals(live.refusals())
        .build()
        .unwrap();
    let notices = Notices::new(&layer.handle(), layer.handle().refusals());
    let app: Router = Router::new()
        .route("/prices", get(async || "12 EUR"))
        .layer(layer.routes())
        .route_service("/notice.json", notices.json());
    hold(&layer.handle());
    let says = async |path: &str, name: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(answer.into_body(), 100_000)
            .await
            .unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains(name), "{path}: {body}");
    };
    says("/prices", "Billing").await;
    says("/notice.json", "\"component\":\"Billing\"").await;
    live.clone().replace(Refusals::new().component("Payments"));
    says("/prices", "Payments").await;
    says("/notice.json", "\"component\":\"Payments\"").await;
    // Live settings as a replacement are taken as they are now.
    live.replace(live.refusals());
    says("/prices", "Payments").await;
    // The defaults of other layers are untouched.
    let other = MaintenanceLayer::new("other");
    assert!(!format!("{:?}", other.handle().refusals()).contains("Payments"));
}
