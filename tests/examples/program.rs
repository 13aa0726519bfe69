//! The built `billing` example, running in a process of its own.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use serde_json::Value;
use test_support::{HttpClient, collected, http_client, soon};

/// The program, on a port of its own. It is killed when the test ends, also by a panic.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) url: String,
    client: HttpClient,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of the program, where cargo puts examples: beside the tests' own directory.
pub(crate) fn executable() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.set_file_name("examples");
    path.push(format!("billing{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "{} is missing: build it with `cargo build --example billing --all-features`, \
         or run all tests, which builds it too",
        path.display()
    );
    path
}

impl Program {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        Self::start_telling(flags, Stdio::null()).await
    }

    /// Starts it with its own `stderr`.
    pub(crate) async fn start_telling(flags: &[&str], stderr: Stdio) -> Self {
        let child = Command::new(executable())
            .args(["--listen", "127.0.0.1:0"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut program = Self {
            child,
            url: String::new(),
            client: http_client(),
        };
        let stdout = program.child.stdout.take().unwrap();
        let said = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = soon(said).await.unwrap().unwrap();
        let url = line.trim_end().strip_prefix("listening on ");
        program.url = url.unwrap_or_else(|| panic!("it said {line:?}")).into();
        program
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        self.send_with(method, path, &[], body).await
    }

    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        let uri = format!("{}{path}", self.url);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let answer = soon(self.client.request(request)).await.unwrap();
        collected(answer).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response<Bytes> {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response<Bytes> {
        self.send(Method::POST, path, body.to_string()).await
    }

    pub(crate) async fn maintenance(&self) -> Value {
        let answer = self.get("/maintenance").await;
        assert_eq!(answer.status(), 200);
        read(&answer)
    }
}

pub(crate) fn read(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}
