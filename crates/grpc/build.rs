//! Writes client and server of `billing.v1.Billing`, as `tonic-build` does from a `.proto`, but
//! from Rust.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name: &str, route: &str, input: &str, output: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("crate::{input}"))
            .output_type(format!("crate::{output}"))
            .codec_path("tonic_prost::ProstCodec")
    };
    let billing = Service::builder()
        .package("billing.v1")
        .name("Billing")
        .method(method("get_prices", "GetPrices", "Ask", "Prices").build())
        .method(method("get_invoice", "GetInvoice", "Ask", "Invoice").build())
        .method(method("charge", "Charge", "Payment", "Invoice").build())
        .method(
            method("watch_prices", "WatchPrices", "Ask", "Prices")
                .server_streaming()
                .build(),
        )
        .build();
    Builder::new().compile(&[billing]);
}
