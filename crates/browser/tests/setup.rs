//! What `crates/setup` installs and prints. The programs that it looks for and calls are scripts of
//! the test.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

const SETUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../setup");

/// The programs that the script's list names.
const PROGRAMS: [&str; 6] = [
    "chromium",
    "chromedriver",
    "nginx",
    "npm",
    "promtool",
    "valgrind",
];

/// A directory of programs.
struct Programs(TempDir);

impl Programs {
    /// Programs that succeed and print nothing, and what the script itself calls.
    fn new(names: &[&str]) -> Self {
        let programs = Self(tempfile::tempdir().unwrap());
        for tool in ["dirname", "env", "sed"] {
            symlink(in_path(tool), programs.path(tool)).unwrap();
        }
        programs.with("sudo", "exec \"$@\"");
        for name in names {
            programs.with(name, "");
        }
        programs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(&self, name: &str, script: &str) {
        let file = self.path(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs `crates/setup` with these programs and no others. Returns whether it succeeded, and its
    /// output.
    fn set_up(&self) -> (bool, String) {
        set_up(self.0.path().into())
    }
}

fn set_up(path: OsString) -> (bool, String) {
    let mut command = Command::new(in_path("bash"));
    let output = command.arg(SETUP).env("PATH", path).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(printed).unwrap())
}

fn in_path(program: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap();
    let files = env::split_paths(&path).map(|directory| directory.join(program));
    files.into_iter().find(|file| file.exists()).unwrap()
}

#[test]
fn nothing_is_printed_when_everything_is_there() {
    let programs = Programs::new(&PROGRAMS);
    programs.with("apt-get", "echo called; exit 1");
    assert_eq!(programs.set_up(), (true, String::new()));
}

#[test]
fn without_apt_get_it_fails_and_names_what_is_missing() {
    let programs = Programs::new(&["chromedriver", "nginx", "npm", "promtool"]);
    let expected = "crates/setup: not in PATH: chromium valgrind; and there is no apt-get to install: \
                    chromium fonts-liberation valgrind\n";
    assert_eq!(programs.set_up(), (false, expected.to_owned()));
}

#[test]
fn only_the_packages_of_missing_programs_are_installed() {
    let programs = Programs::new(&["chromium", "nginx", "npm", "promtool", "valgrind"]);
    let log = programs.path("log");
    let driver = programs.path("chromedriver");
    programs.with(
        "apt-get",
        &format!(
            "echo \"$@\" >>'{}'; /bin/cp \"$0\" '{}'",
            log.display(),
            driver.display()
        ),
    );
    let printed = "crates/setup: installing chromium-driver\n";
    assert_eq!(programs.set_up(), (true, printed.to_owned()));
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        "update -qq\ninstall -y -qq --no-install-recommends chromium-driver\n"
    );
}

#[test]
fn where_apt_get_fails_its_output_and_what_is_missing_are_printed() {
    let programs = Programs::new(&["chromedriver", "chromium", "nginx", "npm", "promtool"]);
    programs.with("apt-get", "echo 'no network'; exit 100");
    let (succeeded, printed) = programs.set_up();
    assert!(!succeeded);
    assert!(
        printed.ends_with(
            "no network\ncrates/setup: apt-get update -qq failed; not in PATH: valgrind\n"
        ),
        "{printed}"
    );
}

#[test]
fn a_package_without_its_program_is_an_error() {
    let programs = Programs::new(&["chromedriver", "chromium", "nginx", "npm", "promtool"]);
    programs.with("apt-get", "");
    let (succeeded, printed) = programs.set_up();
    assert!(!succeeded);
    assert!(
        printed.ends_with("valgrind is not in PATH, although its package is installed\n"),
        "{printed}"
    );
}

/// The packages of npm are compared with the lock file. npm, which fails here, is not called.
#[test]
#[ignore = "needs chromium"]
fn after_setup_another_one_does_nothing() {
    let programs = Programs::new(&[]);
    programs.with("npm", "exit 1");
    let path = env::var_os("PATH").unwrap();
    let own = Path::to_path_buf(programs.0.path());
    let both = env::join_paths([own].into_iter().chain(env::split_paths(&path))).unwrap();
    assert_eq!(set_up(both), (true, String::new()));
}
