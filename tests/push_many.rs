//! Ten thousand subscribers over sockets: what each costs, how fast all are told, and that
//! subscribers that do not read harm no other. The clients are this program again, in a process of
//! their own.
//!
//! A target of its own, for three reasons: its global allocator counts, it raises its process's
//! limit on open files, and it starts itself again. It runs without libtest's harness, so that its
//! lines show. Each process needs a file descriptor per subscriber, and raises the soft limit up to
//! the hard one. Where that is too low there are fewer subscribers, and a line says so.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and what is measured here is real time"
)]

use std::{
    convert::Infallible,
    env,
    io::Write,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use test_support::{Counting, alive_tasks, bytes_of_process, resident, secs, soon, until};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpSocket, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{Semaphore, watch},
    task::block_in_place,
    time::sleep,
};
use tower::ServiceExt;
use tower_maintenance::{
    Hold, MaintenanceHandle, MaintenanceLayer,
    http::{Push, PushEvents},
};

const NAME: &str = "ten_thousand_subscribers";

/// How many subscribers there should be, and how many of them stop reading.
const SUBSCRIBERS: usize = 10_000;
const SLOW: usize = 100;
/// File descriptors that a process needs besides. The slow subscribers' sockets are held twice.
const OTHER_FILES: usize = 100 + SLOW;

/// Within which all are told. Generous, for a busy machine: measured were 0.25 s, on two cores that
/// also run the clients, without optimisation.
const ALL_TOLD: Duration = secs(15);
/// The most bytes that a subscriber may cost the server's process.
const MOST_BYTES: u64 = 32 * 1024;

/// The most bytes that may be left of all of them together. The runtime keeps some of its own.
const MOST_LEFT: i64 = 256 * 1024;

/// Short, so that slow subscribers are found within seconds. But on a busy machine four heartbeats
/// must be enough to poll every stream once, or readers lose their places too.
const HEARTBEAT: Duration = secs(4);
/// After which the kernel gives the slow subscribers' connections up. It is set when they have lost
/// their places, however long that took.
#[cfg(target_os = "linux")]
const GIVES_UP_MS: u32 = 1_000;
/// Small, so that a reader that stops is soon seen; but one event fits.
const SEND_BUFFER: u32 = 8192;
/// The receive buffer of the subscribers that do not read. The kernel has a minimum of its own.
const RECEIVE_BUFFER: u32 = 1024;
/// The minimum that hyper allows.
const HYPERS_BUFFER: usize = 8192;
const EVENT: usize = 4096;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// ---- the server ---------------------------------------------------------------------------------

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let filters: Vec<_> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    if let [clients, addrs @ .., quick, slow] = &*arguments
        && clients == "clients"
    {
        let [for_quick, for_slow] = addrs else {
            panic!("two addresses, not {addrs:?}")
        };
        let quick = (for_quick.parse().unwrap(), quick.parse().unwrap());
        let slow = (for_slow.parse().unwrap(), slow.parse().unwrap());
        runtime().block_on(clients::run(quick, slow));
    } else if is("--list") {
        println!("{NAME}: test");
    } else if !is("--ignored") && (filters.is_empty() || filters.iter().any(|f| NAME.contains(*f)))
    {
        runtime().block_on(ten_thousand_subscribers());
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// Raises the limit on open files, and returns how many subscribers fit under it.
fn raise_limit(wanted: usize) -> usize {
    let files = (wanted + OTHER_FILES) as u64;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|current| current < files) {
        let current = Some(files.min(most));
        setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    }
    usize::try_from(files.min(most)).unwrap() - OTHER_FILES
}

/// Ends an episode, so that all subscribers are told. Returns the new generation.
fn episode(handle: &MaintenanceHandle) -> u64 {
    handle.engage(Hold::new("test", "an episode")).unwrap();
    handle.release("test", "its end").unwrap();
    handle.generation()
}

async fn ten_thousand_subscribers() {
    let fit = raise_limit(SUBSCRIBERS);
    if fit < SUBSCRIBERS {
        println!(
            "{NAME}: only {fit} subscribers: the hard limit on open files is too low for {SUBSCRIBERS} (ulimit -Hn)"
        );
    }
    let (quick, slow) = (fit - SLOW, SLOW);

    let url = format!("/{}", "p".repeat(EVENT));
    let layer = MaintenanceLayer::builder("zuora")
        .cache_urls([url])
        .build()
        .unwrap();
    let handle = layer.handle();
    let push = Push::builder(&handle)
        .max_subscribers(fit)
        .heartbeat(HEARTBEAT)
        .build()
        .unwrap();
    let held = Held::default();
    let addr = serve(push.events(), None);
    let for_slow = serve(push.events(), Some(held.clone()));
    let tasks = alive_tasks();
    let (heap_before, before) = (bytes_of_process(), resident());

    // All are connected, and one more is refused.
    let mut clients = Clients::start((addr, quick), (for_slow, slow));
    clients.say("connected").await;
    assert_eq!(push.counts().subscribers, fit);
    assert_eq!(one_more(addr).await, "HTTP/1.1 503 ");

    let heap = (bytes_of_process() - heap_before) / fit as i64;
    println!("{NAME}: {heap} bytes of heap each, for {fit}, hyper's connection and all");
    assert!(heap < MOST_BYTES as i64, "{heap} bytes each");
    match before.zip(resident()) {
        Some((before, after)) => {
            let each = after.saturating_sub(before) / fit as u64;
            println!("{NAME}: {each} bytes each of the process's resident memory");
            assert!(each < MOST_BYTES, "{each} bytes each");
        }
        None => println!("{NAME}: resident memory not measured: no /proc/self/status here"),
    }

    // All readers are told, also while some subscribers do not read.
    let mut longest = Duration::ZERO;
    let mut told = 0;
    while told < 3 || push.counts().stalled < slow as u64 {
        let began = Instant::now();
        let generation = episode(&handle);
        clients.hear(generation).await;
        longest = longest.max(began.elapsed());
        told += 1;
        assert!(told < 60, "the slow are not found: {:?}", push.counts());
        if told >= 8 {
            // Every buffer is full by now: from here on heartbeats find the slow subscribers.
            sleep(HEARTBEAT / 4).await;
        }
    }
    println!(
        "{NAME}: {quick} told within {longest:?} at most, {told} times, while {slow} did not read"
    );
    assert!(longest < ALL_TOLD, "{longest:?}");

    // The slow subscribers, and no others, have lost their places. Then the kernel ends their
    // connections.
    assert_eq!(push.counts().stalled, slow as u64);
    assert_eq!(push.counts().subscribers, quick);
    // Until then their streams count, and leave no room for others.
    #[cfg(target_os = "linux")]
    {
        assert_eq!(push.counts().streams, fit);
        for socket in lock(&held).drain(..) {
            rustix::net::sockopt::set_tcp_user_timeout(&socket, GIVES_UP_MS).unwrap();
        }
        until(|| {
            assert_eq!(push.counts().subscribers, quick);
            // Read before the streams: a connection's stream is dropped before the connection is
            // counted down.
            let open = OPEN.load(Ordering::Relaxed);
            assert!(push.counts().streams <= open, "{:?}", push.counts());
            open == quick
        })
        .await;
        assert_eq!(push.counts().streams, quick);
        assert_eq!(one_more(addr).await, "HTTP/1.1 200 ");
    }

    // All leave, and nothing is left of them.
    clients.leave().await;
    nobody_is_left(&push, tasks).await;

    let left = bytes_of_process() - heap_before;
    println!("{NAME}: {left} bytes of heap left after all have gone");
    assert!(left < MOST_LEFT, "{left} bytes of heap left");
    println!("{NAME}: ok");
}

/// The first bytes of the answer to one more subscriber.
async fn one_more(addr: SocketAddr) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: push\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut status = [0; "HTTP/1.1 200 ".len()];
    soon(stream.read_exact(&mut status)).await.unwrap();
    String::from_utf8(status.into()).unwrap()
}

async fn nobody_is_left(push: &Push, tasks: usize) {
    until(|| push.counts().subscribers == 0).await;
    until(|| push.counts().streams == 0).await;
    until(|| OPEN.load(Ordering::Relaxed) == 0).await;
    until(|| alive_tasks() <= tasks).await;
}

/// How many connections the server has.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Second handles of sockets that hyper has.
type Held = Arc<Mutex<Vec<OwnedFd>>>;

fn lock(held: &Held) -> MutexGuard<'_, Vec<OwnedFd>> {
    held.lock().unwrap()
}

fn serve(events: PushEvents, held: Option<Held>) -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    // An accepted socket inherits it from the listening one.
    socket.set_send_buffer_size(SEND_BUFFER).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(4096).unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Some(held) = &held {
                lock(held).push(stream.as_fd().try_clone_to_owned().unwrap());
            }
            let events = events.clone();
            let service =
                service_fn(move |request: Request<Incoming>| events.clone().oneshot(request));
            let mut server = http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .writev(false)
                .max_buf_size(HYPERS_BUFFER);
            OPEN.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let served: Result<(), hyper::Error> =
                    server.serve_connection(TokioIo::new(stream), service).await;
                OPEN.fetch_sub(1, Ordering::Relaxed);
                // How a connection ended does not matter here.
                let _ = served;
                Ok::<_, Infallible>(())
            });
        }
    });
    addr
}

/// The process with the clients. It ends when its input does, and so with this process.
struct Clients {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Clients {
    fn start(quick: (SocketAddr, usize), slow: (SocketAddr, usize)) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .arg("clients")
            .args([quick.0, slow.0].map(|addr| addr.to_string()))
            .args([quick.1, slow.1].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(output).lines(),
            child,
        }
    }

    /// Waits for the line that the clients print.
    async fn say(&mut self, expected: &str) {
        let line = soon(self.output.next_line()).await.unwrap();
        assert_eq!(line.as_deref(), Some(expected));
    }

    /// Waits until all clients that read have heard of the generation.
    async fn hear(&mut self, generation: u64) {
        let line = format!("{generation}\n");
        let input = self.input.as_mut().unwrap();
        input.write_all(line.as_bytes()).await.unwrap();
        self.say(&format!("told {generation}")).await;
    }

    async fn leave(&mut self) {
        drop(self.input.take());
        let ended = soon(self.child.wait()).await.unwrap();
        assert!(ended.success(), "{ended}");
    }
}

/// The code of the other process.
mod clients {
    use super::*;

    /// In place of a generation: the stream has ended.
    const ENDED: u64 = u64::MAX;

    /// The newest generation that each client that reads has heard.
    struct Heard {
        newest: Vec<watch::Sender<u64>>,
    }

    pub(super) async fn run(quick: (SocketAddr, usize), slow: (SocketAddr, usize)) {
        let (for_quick, quick) = quick;
        let (for_slow, slow) = slow;
        raise_limit(quick + slow);
        let mut heard = Heard { newest: Vec::new() };
        let connecting = Arc::new(Semaphore::new(256));
        let mut connected = Vec::new();
        for number in 0..quick + slow {
            let (tell, _) = watch::channel(0);
            let reads = number >= slow;
            let addr = if reads { for_quick } else { for_slow };
            if reads {
                heard.newest.push(tell.clone());
            }
            let connecting = connecting.clone();
            connected.push(tokio::spawn(async move {
                let turn = connecting.acquire().await.unwrap();
                let mut stream = connect(addr, reads).await;
                let generation = next(&mut stream).await.unwrap();
                drop(turn);
                tell.send_replace(generation);
                if reads {
                    tokio::spawn(hear(stream, tell));
                    None
                } else {
                    Some(stream)
                }
            }));
        }
        let mut unread = Vec::new();
        for client in connected {
            unread.extend(client.await.unwrap());
        }
        tell("connected");

        let asked = || std::io::stdin().lines().next();
        while let Some(line) = block_in_place(asked) {
            let line = line.unwrap();
            let generation: u64 = line.parse().unwrap();
            for each in &heard.newest {
                let told = &mut each.subscribe();
                let told = told.wait_for(|heard| *heard >= generation);
                let told = *soon(told).await.unwrap();
                assert_ne!(told, ENDED, "the stream of a reader has ended");
                assert_eq!(told, generation);
            }
            tell(&format!("told {generation}"));
        }
        assert_eq!(unread.len(), slow);
    }

    /// Reads the stream to its end, and passes on each generation.
    async fn hear(mut stream: BufReader<TcpStream>, tell: watch::Sender<u64>) {
        while let Some(generation) = next(&mut stream).await {
            tell.send_replace(generation);
        }
        tell.send_replace(ENDED);
    }

    fn tell(line: &str) {
        println!("{line}");
        std::io::stdout().flush().unwrap();
    }

    async fn connect(addr: SocketAddr, reads: bool) -> BufReader<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        if !reads {
            socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
        }
        let mut stream = soon(socket.connect(addr)).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: push\r\n\r\n")
            .await
            .unwrap();
        BufReader::with_capacity(1024, stream)
    }

    /// The next generation on the stream, or `None` at its end. The bytes that frame it (HTTP's
    /// head, its chunks) have no `id`.
    async fn next(stream: &mut BufReader<TcpStream>) -> Option<u64> {
        let mut id = None;
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if let Some(value) = line.strip_prefix("id: ") {
                id = Some(value.trim_end().parse().unwrap());
            } else if line == "\n" && id.is_some() {
                return id;
            }
        }
    }
}
