//! chromedriver as a process, and the processes that it starts.
//!
//! Chromium is many processes, and all of them must end with the test, however the test ends. So a
//! shell script (`keeper.sh`) runs between. It waits for the end of a pipe that this process holds.
//! The pipe also ends if this process is killed. The script then kills the whole process group and
//! removes the directory.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tokio::{sync::oneshot, time::timeout};

use crate::error::{CAP, Error};

/// What chromedriver says when it listens; a number and a full stop follow.
const LISTENS: &str = "ChromeDriver was started successfully on port ";

/// What chromedriver's log contains when its port is taken.
const PORT_IS_TAKEN: &str = "Address already in use";

/// The number of times that chromedriver is started until its port is free. It takes a port that is
/// free for IPv4 or for IPv6. It needs the same port for the other, where another program may have
/// it.
const ATTEMPTS: u32 = 5;

/// How much of chromedriver's log an error quotes.
const QUOTED_LINES: usize = 20;

/// A running chromedriver, its browsers and their directory; dropping it ends them all.
#[derive(Debug)]
pub(crate) struct Driver {
    keeper: Child,
    directory: PathBuf,
    port: u16,
}

impl Driver {
    pub(crate) async fn start(program: &Path) -> Result<Self, Error> {
        let mut attempt = 1;
        loop {
            let mut driver = Self::launch(program)?;
            match driver.listening().await {
                Ok(port) => {
                    driver.port = port;
                    return Ok(driver);
                }
                Err(_) if attempt < ATTEMPTS && driver.log().contains(PORT_IS_TAKEN) => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn launch(program: &Path) -> Result<Self, Error> {
        // Short, for Chromium puts sockets into it: their paths have at most 107 bytes.
        let directory = tempfile::Builder::new().prefix("browser-").tempdir();
        let directory =
            directory.map_err(|error| Error::new(format!("no temporary directory: {error}")))?;
        let keeper = Command::new("bash")
            .args(["-c", include_str!("keeper.sh")])
            .env("DRIVER", program)
            .env("DIR", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Control-C in a terminal ends the test; the keeper must outlive it.
            .process_group(0)
            .spawn();
        let keeper = keeper.map_err(|error| Error::new(format!("cannot start bash: {error}")))?;
        Ok(Self {
            keeper,
            directory: directory.keep(),
            port: 0,
        })
    }

    /// Waits until chromedriver says which free port it took.
    async fn listening(&mut self) -> Result<u16, Error> {
        let said = self.keeper.stdout.take().map(BufReader::new);
        let (tell, told) = oneshot::channel();
        // Reads to the end, so that chromedriver never waits for a reader.
        thread::spawn(move || {
            let mut tell = Some(tell);
            for line in said
                .into_iter()
                .flat_map(BufRead::lines)
                .map_while(Result::ok)
            {
                let port = line
                    .strip_prefix(LISTENS)
                    .and_then(|rest| rest.trim_end_matches('.').parse().ok());
                if let (Some(port), Some(tell)) = (port, tell.take_if(|_| port.is_some())) {
                    let _ = tell.send(port);
                }
            }
        });
        match timeout(CAP, told).await {
            Ok(Ok(port)) => Ok(port),
            Ok(Err(_)) => Err(Error::new(format!(
                "chromedriver ended by itself{}",
                self.log()
            ))),
            Err(_) => Err(Error::new(format!(
                "chromedriver does not listen after {CAP:?}{}",
                self.log()
            ))),
        }
    }

    /// Starts a browser, with more arguments than those that all tests need.
    pub(crate) async fn session(&self, chromium: &Path, more: &[&str]) -> Result<Client, Error> {
        let profile = self.directory.join("profile");
        let profile = format!("--user-data-dir={}", profile.display());
        let usual = [
            "--headless",
            // Root has no other way; the pages are our own.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            // Where the environment names a proxy: it is not for servers on this machine.
            "--no-proxy-server",
            &profile,
        ];
        let arguments = [&usual, more].concat();
        let cap = CAP.as_millis();
        let capabilities = json!({
            "goog:chromeOptions": { "binary": chromium, "args": arguments },
            "timeouts": { "script": cap, "pageLoad": cap },
        });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        if let serde_json::Value::Object(capabilities) = capabilities {
            builder.capabilities(capabilities);
        }
        let url = format!("http://127.0.0.1:{}", self.port);
        match timeout(CAP, builder.connect(&url)).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(Error::new(format!(
                "chromium does not start: {error}{}",
                self.log()
            ))),
            Err(_) => Err(Error::new(format!(
                "chromium does not start within {CAP:?}{}",
                self.log()
            ))),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.join("chromedriver.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(QUOTED_LINES)..];
        if last.is_empty() {
            String::new()
        } else {
            format!("; its log ends with:\n{}", last.join("\n"))
        }
    }
}

impl Drop for Driver {
    /// Blocks for the few milliseconds until the processes are gone.
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Finds a program as a shell does.
pub(crate) fn find(program: &str, path: &OsStr) -> Result<PathBuf, Error> {
    let executable = |file: &PathBuf| {
        fs::metadata(file)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(path)
        .map(|directory| directory.join(program))
        .find(executable)
        .ok_or_else(|| {
            Error::new(format!(
                "no program `{program}` in PATH ({}); run `crates/setup`, or as root \
             `apt-get install -y chromium chromium-driver`",
                path.display()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_an_error_that_says_how_to_install_it() {
        let error = find("chromium", "/nowhere".as_ref())
            .unwrap_err()
            .to_string();
        for part in [
            "`chromium`",
            "/nowhere",
            "crates/setup",
            "apt-get install -y chromium chromium-driver",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    /// Starts a script in place of chromedriver. The script finds its port taken `taken` times, and
    /// listens after that. Returns the port, and how often the script was started.
    async fn started(taken: usize) -> (Result<u16, Error>, usize) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("chromedriver");
        let starts = directory.path().join("starts");
        let script = format!(
            "#!/bin/bash\n\
             echo >>'{starts}'\n\
             mapfile -t starts <'{starts}'\n\
             if [ ${{#starts[@]}} -le {taken} ]; then\n\
               echo 'bind() failed: {PORT_IS_TAKEN} (98)' >&2; exit 1\n\
             fi\n\
             echo '{LISTENS}4711.'; exec tail -f /dev/null\n",
            starts = starts.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let port = Driver::start(&program).await.map(|driver| driver.port);
        (port, fs::read_to_string(&starts).unwrap().lines().count())
    }

    #[tokio::test]
    async fn chromedriver_is_started_again_when_its_port_is_taken() {
        let (port, starts) = started(1).await;
        assert_eq!((port.unwrap(), starts), (4711, 2));
    }

    #[tokio::test]
    async fn a_port_that_is_always_taken_is_an_error() {
        let (port, starts) = started(100).await;
        assert!(port.unwrap_err().to_string().contains(PORT_IS_TAKEN));
        assert_eq!(starts, ATTEMPTS as usize);
    }

    #[test]
    fn a_directory_or_a_plain_file_is_not_a_program() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("chromium")).unwrap();
        fs::write(directory.path().join("chromedriver"), "").unwrap();
        for program in ["chromium", "chromedriver"] {
            assert!(
                find(program, directory.path().as_os_str()).is_err(),
                "{program}"
            );
        }
    }
}
