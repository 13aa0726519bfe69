//! A request through an axum router in a real server: HTTP/1.1 over loopback, on one connection
//! that is kept.
//!
//! The server is measured. It runs in this process, on a runtime of one thread. Its client is a
//! process of its own, so that none of the client's instructions count. The client sends the next
//! request when the server has answered the last one and is about to sleep. Without this lock-step
//! the server would sometimes find the request at once and sometimes be woken for it, which takes
//! other instructions. Both run on one core: on two, a request would wait for a core to wake up,
//! which takes twice as long as all else.

use std::{
    env,
    error::Error,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::{Child, Command},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, ServiceExt, extract::Request, response::Response};
#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, Runtime},
    time::timeout,
};
use tower::Service;

use crate::subject::{Answer, Subject};

/// The path of the request.
pub(crate) const PATH: &str = "/billing/prices";

/// The body of the answer.
pub(crate) const ANSWER: &str = "12 EUR";

/// The hidden command that runs the client.
pub(crate) const COMMAND: &str = "client";

/// The time for which one side waits for a message of the other: far longer than any takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a handler has answered since the server last slept. Servers share it, because they run
/// in turn.
static ANSWERED: AtomicBool = AtomicBool::new(false);

/// Called by a handler, so that it is the client's turn when the server sleeps next.
#[inline]
pub(crate) fn answered() {
    ANSWERED.store(true, Ordering::Relaxed);
}

/// A server of this router.
pub(crate) fn router(router: Router) -> Box<dyn Subject> {
    subject(|listener| axum::serve(listener, router).into_future())
}

/// A server of a service around a router.
pub(crate) fn around<S>(service: S) -> Box<dyn Subject>
where
    S: Service<Request, Response = Response, Error = std::convert::Infallible> + Clone,
    S: Send + 'static,
    S::Future: Send,
{
    subject(|listener| axum::serve(listener, service.into_make_service()).into_future())
}

type Listener = tokio::net::TcpListener;

fn subject<F>(serve: impl FnOnce(Listener) -> F) -> Box<dyn Subject>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    Box::new(Served::start(serve).expect("a server and its client on loopback"))
}

struct Served {
    runtime: Runtime,
    client: Child,
    /// To the client: the number of requests, and then each of its turns. From the client: the
    /// number of requests that were answered well.
    line: tokio::net::TcpStream,
}

impl Served {
    fn start<F>(serve: impl FnOnce(Listener) -> F) -> Result<Self, Box<dyn Error>>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let turns = Arc::new(OnceLock::<TcpStream>::new());
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park({
                let turns = turns.clone();
                move || give_turn(turns.get())
            })
            .build()?;
        // The client inherits the core.
        let _here = OneCore::keep();
        let (client, line) = runtime.block_on(async {
            let loopback = (Ipv4Addr::LOCALHOST, 0);
            let (server, line) = (
                Listener::bind(loopback).await?,
                Listener::bind(loopback).await?,
            );
            let mut client = Command::new(env::current_exe()?);
            client.arg(COMMAND);
            for listener in [&server, &line] {
                client.arg(listener.local_addr()?.to_string());
            }
            let client = client.spawn()?;
            let (line, _) = timeout(PATIENCE, line.accept()).await??;
            tokio::spawn(serve(server));
            Ok::<_, Box<dyn Error>>((client, line.into_std()?))
        })?;
        line.set_nodelay(true)?;
        let _ = turns.set(line.try_clone()?);
        let line = runtime.block_on(async { tokio::net::TcpStream::from_std(line) })?;
        Ok(Self {
            runtime,
            client,
            line,
        })
    }

    fn requests(&mut self, requests: u64) -> io::Result<u64> {
        // It may have been set by a handler without a server.
        ANSWERED.store(false, Ordering::Relaxed);
        let _here = OneCore::keep();
        let line = &mut self.line;
        self.runtime.block_on(async {
            line.write_u64(requests).await?;
            line.read_u64().await
        })
    }
}

/// Lets the client send its next request if the last one was answered.
#[inline(never)]
fn give_turn(line: Option<&TcpStream>) {
    if ANSWERED.load(Ordering::Relaxed)
        && let Some(mut line) = line
    {
        ANSWERED.store(false, Ordering::Relaxed);
        line.write_all(&[0]).expect("the client waits for it");
    }
}

impl Subject for Served {
    fn answer(&mut self, _: u64) -> Answer {
        match self.run(1) {
            1 => Answer::Passed,
            _ => Answer::Failed,
        }
    }

    fn partner_is_ready(&mut self, _: bool) {}

    fn run(&mut self, calls: u64) -> u64 {
        let passed = self.requests(calls);
        passed.expect("the client tells how many were answered well")
    }

    fn run_beside_others(&mut self, calls: u64) -> u64 {
        self.run(calls)
    }

    fn another(&self) -> Box<dyn Subject> {
        unreachable!("a server is not shared by threads")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// Keeps this thread on one core until it is dropped. Does nothing where cores cannot be chosen.
struct OneCore {
    #[cfg(target_os = "linux")]
    before: CpuSet,
}

impl OneCore {
    #[cfg(target_os = "linux")]
    fn keep() -> Option<Self> {
        let before = sched_getaffinity(None).ok()?;
        let first = (0..CpuSet::MAX_CPU).find(|core| before.is_set(*core))?;
        let mut one = CpuSet::new();
        one.set(first);
        sched_setaffinity(None, &one).ok()?;
        Some(Self { before })
    }

    #[cfg(not(target_os = "linux"))]
    fn keep() -> Option<Self> {
        None
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        let _ = sched_setaffinity(None, &self.before);
    }
}

// ---- the client ---------------------------------------------------------------------------------

/// The hidden command.
pub(crate) fn client(arguments: &[String]) -> Result<(), String> {
    let [server, line] = arguments else {
        return Err(format!("{COMMAND} SERVER LINE"));
    };
    requests(server, line).map_err(|error| format!("the client: {error}"))
}

fn requests(server: &str, line: &str) -> io::Result<()> {
    let (mut server, mut line) = (TcpStream::connect(server)?, TcpStream::connect(line)?);
    for stream in [&server, &line] {
        stream.set_nodelay(true)?;
    }
    server.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n\r\n");
    let mut number = [0; 8];
    loop {
        // Without a time-out, because other servers have their turns meanwhile. The line ends with
        // this server.
        line.set_read_timeout(None)?;
        match line.read_exact(&mut number) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        line.set_read_timeout(Some(PATIENCE))?;
        let mut passed = 0_u64;
        for _ in 0..u64::from_be_bytes(number) {
            server.write_all(request.as_bytes())?;
            passed += u64::from(is_good(&mut server)?);
            line.read_exact(&mut [0])?;
        }
        line.write_all(&passed.to_be_bytes())?;
    }
}

/// Reads one answer to its end.
fn is_good(server: &mut TcpStream) -> io::Result<bool> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    let (head, body) = loop {
        match server.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&buffer[..read]),
        }
        let text =
            std::str::from_utf8(&answer).map_err(|_| invalid("an answer that is no text"))?;
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.and_then(|length| length.parse::<usize>().ok());
            match length.ok_or_else(|| invalid("an answer without a length"))? {
                length if body.len() == length => break (head, body),
                length if body.len() > length => return Err(invalid("more than an answer")),
                _ => {}
            }
        }
    };
    Ok(head.starts_with("HTTP/1.1 200 ") && body == ANSWER)
}
