//! A real nginx with `proxy_cache` in front: it shows no old price after a recovery, and sends no
//! client's cure to another.

use std::{
    env,
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, http::HeaderMap, response::IntoResponse, routing::get};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use test_support::{HttpClient, collected, http_client, serve, soon, until};
use tokio::net::TcpSocket;
use tower_maintenance::{
    Hold, MaintenanceLayer,
    http::{CacheBustLayer, LastGoodLayer, NamedCookie, Push},
};

use crate::support::recover;

/// The server of the test. It ends with its value, and it has no other processes.
struct Nginx {
    child: Child,
    addr: SocketAddr,
    directory: PathBuf,
    client: HttpClient,
    /// Bound, never listening: no other program is given the port.
    _port: TcpSocket,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Nginx {
    /// Starts a server that keeps what it is allowed to, in front of `origin`.
    async fn before(origin: SocketAddr) -> Self {
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseaddr(true).unwrap();
        port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = port.local_addr().unwrap();
        let name = format!("tower-maintenance-nginx-{}", addr.port());
        let directory = env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let file = directory.join("nginx.conf");
        fs::write(&file, conf(&directory.display().to_string(), addr, origin)).unwrap();
        let child = Command::new("nginx")
            .args(["-e", "stderr", "-c"])
            .arg(&file)
            .env("PATH", path())
            .stdout(Stdio::null())
            .spawn()
            .expect("crates/setup installs nginx");
        let nginx = Self {
            child,
            addr,
            directory,
            client: http_client(),
            _port: port,
        };
        until(|| std::net::TcpStream::connect(addr).is_ok()).await;
        nginx
    }

    /// Asks nginx, and returns its answer and what its cache did.
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (Response<Bytes>, String) {
        let answer = ask(&self.client, self.addr, path, headers).await;
        let cache = answer.headers().get("x-cache").map_or("", |cache| {
            let cache = cache.to_str();
            cache.unwrap()
        });
        let cache = cache.to_owned();
        (answer, cache)
    }

    /// The same, for status and body.
    async fn shows(&self, path: &str) -> (u16, String, String) {
        let (answer, cache) = self.get(path, &[]).await;
        let body = String::from_utf8(answer.body().to_vec()).unwrap();
        (answer.status().as_u16(), body, cache)
    }
}

fn conf(directory: &str, addr: SocketAddr, origin: SocketAddr) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {directory}/{what};\n"))
        .concat();
    format!(
        "daemon off;
        # One process, which the test ends.
        master_process off;
        pid {directory}/pid;
        events {{ worker_connections 64; }}
        http {{
            access_log off;
            {temporary}
            proxy_cache_path {directory}/cache keys_zone=kept:1m use_temp_path=off;
            server {{
                listen {addr};
                location / {{
                    proxy_pass http://{origin};
                    proxy_http_version 1.1;
                    proxy_set_header Connection \"\";
                    proxy_cache kept;
                    # Whatever says nothing is kept, and so is what sets cookies.
                    proxy_cache_valid any 10m;
                    proxy_ignore_headers Set-Cookie;
                    add_header X-Cache $upstream_cache_status always;
                }}
            }}
        }}"
    )
}

/// Debian puts nginx where not every user looks.
fn path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
    env::join_paths(env::split_paths(&path).chain(more)).unwrap()
}

async fn ask(
    client: &HttpClient,
    server: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Response<Bytes> {
    let mut request = Request::get(format!("http://{server}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::default()).unwrap();
    collected(soon(client.request(request)).await.unwrap()).await
}

fn hold() -> Hold {
    Hold::new("on-call", "ticket 4711")
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn nginx_shows_the_new_price_after_the_recovery() {
    let euros = Arc::new(AtomicU64::new(12));
    let price = {
        let euros = euros.clone();
        async move || {
            let headers = [("x-accel-expires", "3600"), ("cache-control", "max-age=60")];
            (headers, format!("{} EUR", euros.load(Ordering::Relaxed)))
        }
    };
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let last_good = LastGoodLayer::builder().path("/prices").build().unwrap();
    let app = Router::new()
        .route("/prices", get(price))
        .route("/plans", get(async || "gold"))
        .layer(layer.routes())
        .layer(last_good.clone());
    let origin = serve(app).await;
    let nginx = Nginx::before(origin).await;
    let told = |status: u16, body: &str, cache: &str| (status, body.to_owned(), cache.to_owned());

    // The control: nginx heeds the header, and keeps what says nothing.
    for cache in ["MISS", "HIT"] {
        let price = nginx.shows("/prices?control").await;
        assert_eq!(price, told(200, "12 EUR", cache));
        let plan = nginx.shows("/plans?control").await;
        assert_eq!(plan, told(200, "gold", cache));
    }

    // The last good answer and the refusal pass through nginx, which keeps neither.
    ask(&http_client(), origin, "/prices", &[]).await;
    handle.engage(hold()).unwrap();
    for _ in 0..2 {
        assert_eq!(nginx.shows("/prices").await, told(200, "12 EUR", "MISS"));
        let (status, _, cache) = nginx.shows("/plans").await;
        assert_eq!((status, &*cache), (503, "MISS"));
    }
    assert_eq!(last_good.counts().served, 2);
    euros.store(13, Ordering::Relaxed);
    handle.release("on-call", "it is back").unwrap();
    assert_eq!(nginx.shows("/prices").await, told(200, "13 EUR", "MISS"));
    assert_eq!(nginx.shows("/plans").await, told(200, "gold", "MISS"));
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn nginx_sends_no_clients_cure_to_another() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let bust = CacheBustLayer::builder(&handle)
        .carried_by(["/", "/kept"])
        .expire_cookie(NamedCookie::new("prices"))
        .clear_site_data(["cache"])
        .build()
        .unwrap();
    let page = async || [("cache-control", "public, max-age=60, s-maxage=60")].into_response();
    let kept = async || ([("x-accel-expires", "3600")], "the page").into_response();
    let app = Router::new()
        .route("/", get(page))
        .route("/kept", get(kept))
        .layer(bust.clone());
    let nginx = Nginx::before(serve(app).await).await;
    recover(&handle);

    let behind = [
        ("sec-fetch-site", "none"),
        ("cookie", "maintenance-generation=1722457620000"),
    ];
    let visitor = [("sec-fetch-site", "none")];
    let cured = |headers: &HeaderMap| {
        let mut set = headers.get_all("set-cookie").iter();
        let expired = set.any(|line| line.to_str().unwrap().starts_with("prices=;"));
        (headers.contains_key("clear-site-data"), expired)
    };
    // What nginx keeps carries no cure, for the first client and for all others.
    for (client, cache) in [(&behind[..], "MISS"), (&visitor, "HIT"), (&behind, "HIT")] {
        let (answer, did) = nginx.get("/kept", client).await;
        assert_eq!(did, cache);
        assert_eq!(cured(answer.headers()), (false, false));
        assert!(!answer.headers().contains_key("set-cookie"));
    }
    // What carries one is not kept.
    for (client, is_cured) in [(&behind[..], true), (&visitor, false), (&behind, true)] {
        let (answer, did) = nginx.get("/", client).await;
        assert_eq!(did, "MISS");
        assert_eq!(cured(answer.headers()), (is_cured, is_cured));
    }
    assert_eq!(bust.counts().healed, 2);
}

/// nginx buffers and keeps answers. It must do neither with a stream.
#[tokio::test]
#[ignore = "needs nginx"]
async fn nginx_passes_each_event_on_to_each_tab() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let push = Push::new(&handle);
    let app = Router::new().route_service("/events", push.events());
    let nginx = Nginx::before(serve(app).await).await;
    let mut tabs = Vec::new();
    for _ in 0..2 {
        let uri = format!("http://{}/events", nginx.addr);
        let answer = soon(nginx.client.get(uri.parse().unwrap())).await.unwrap();
        assert_eq!(answer.headers()["x-cache"], "MISS");
        let mut tab = answer.into_body();
        let hello = soon(tab.frame()).await.unwrap().unwrap();
        assert!(hello.into_data().unwrap().starts_with(b"retry: "));
        tabs.push(tab);
    }
    let generation = recover(&handle);
    for tab in &mut tabs {
        let told = soon(tab.frame()).await.unwrap().unwrap();
        let told = told.into_data().unwrap();
        let begin = format!("event: recovered\nid: {generation}\n");
        assert!(told.starts_with(begin.as_bytes()), "{told:?}");
    }
    push.close();
    for tab in tabs {
        assert_eq!(soon(tab.collect()).await.unwrap().to_bytes(), "");
    }
}
