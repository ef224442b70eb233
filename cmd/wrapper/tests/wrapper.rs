//! A whole wrapper observed from outside: signals, exit codes, output, and leftovers.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod support;

use std::fs;
use std::io::{BufReader, Read as _};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use support::{DEAF, Fixture, Guard, POLITE, SOON, first_line, lives, pid_in, stderr, until};

/// Time within which an orphaned wrapper must have stopped its server.
const ORPHAN_LIMIT: Duration = Duration::from_secs(4);

#[test]
fn one_signal_stops_the_server_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let fixture = Fixture::new();
        let running = fixture.start(&mut fixture.command(POLITE));
        running.signal(signal);
        let (status, _) = running.end();
        assert_eq!(status.code(), Some(0));
        assert_eq!(fixture.read("terms"), "term\n");
    }
}

#[test]
fn second_signal_kills_at_once() {
    let fixture = Fixture::new();
    let running = fixture.start(&mut fixture.command(DEAF));
    running.signal(Signal::TERM);
    until(SOON, "the first signal arrives", || {
        !fixture.read("terms").is_empty()
    });
    let before = Instant::now();
    running.signal(Signal::INT);
    let (status, text) = running.end();
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(status.code(), Some(0), "it died of the signal we sent");
    assert!(
        text.contains("warning: `sh` is killed: a second stop was asked for"),
        "{text}"
    );
    assert_eq!(fixture.read("terms"), "term\n", "only one SIGTERM");
}

#[test]
fn exit_code_of_a_server_that_ends_by_itself_is_the_servers() {
    let cases = [
        ("exit 7", 7, "ended with exit code 7"),
        ("exit 0", 1, "ended with exit code 0"),
        ("kill -KILL $$", 137, "was ended by signal 9"),
    ];
    for (end, code, line) in cases {
        let fixture = Fixture::new();
        let script = POLITE.replace("while :;", "while [ ! -e go ];");
        let running = fixture.start(&mut fixture.command(&format!("{script}; {end}")));
        fs::write(fixture.path("go"), "").unwrap();
        let (status, text) = running.end();
        assert_eq!(status.code(), Some(code), "{end}: {text}");
        assert_eq!(text, format!("error: `sh` {line} by itself\n"));
    }
}

#[test]
fn exit_code_of_a_server_that_never_started_is_the_servers() {
    let cases = [
        ("exit 3", 3, "ended with exit code 3"),
        ("exit 0", 1, "ended with exit code 0"),
        ("kill -SEGV $$", 139, "was ended by signal 11"),
    ];
    for (script, code, line) in cases {
        let fixture = Fixture::new();
        let output = fixture.command(script).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{script}: {text}");
        let expected = format!("error: `sh` {line} by itself before it was ready\n");
        assert_eq!(text, expected, "{script}");
    }
}

#[test]
fn code_of_a_server_that_fails_while_stopping() {
    let fixture = Fixture::new();
    let script = POLITE.replace("exit 0", "exit 9");
    let running = fixture.start(&mut fixture.command(&script));
    running.signal(Signal::TERM);
    let (status, text) = running.end();
    assert_eq!(status.code(), Some(9));
    assert!(
        text.contains("`sh` ended with exit code 9 when it was stopped"),
        "{text}"
    );
}

#[test]
fn a_server_that_never_gets_ready_is_stopped() {
    let fixture = Fixture::new();
    let script = DEAF.replace("touch ready; ", "");
    let script = script.replace("echo term >>terms", "exit 0");
    let output = fixture.command(&script).output().unwrap();
    assert_eq!(output.status.code(), Some(14));
    assert_eq!(stderr(&output), "error: `sh` was not ready within 2 s\n");
    assert!(!lives(pid_in(&fixture.path("pid"))));
}

#[test]
fn a_stranger_that_answers_ends_the_start() {
    let fixture = Fixture::new();
    let script = POLITE.replace("touch ready", "touch foreign");
    let output = fixture.command(&script).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: a stranger answers\n");
    assert!(!lives(pid_in(&fixture.path("pid"))));
}

#[test]
fn garbage_goes_to_stderr_and_cannot_fake_the_ready_line() {
    let fixture = Fixture::new();
    let script = format!(
        "printf 'READY: fake fake://there\\n\\377\\376\\000\\n'; \
         head -c 100000 /dev/zero | tr '\\0' x; echo; {POLITE}"
    );
    let mut command = fixture.command(&script);
    let mut child = Guard(command.spawn().unwrap());
    // Read at once: the pipe would fill.
    let mut pipe = child.0.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let server = pid_in(&fixture.path("pid"));
    let (line, _stdout) = first_line(child.0.stdout.take().unwrap());
    assert_eq!(line, "READY: fake fake://here\n");
    kill_process(child.pid(), Signal::TERM).unwrap();
    assert_eq!(child.status(SOON).code(), Some(0));
    assert!(!lives(server));
    let bytes = reader.join().unwrap();
    assert!(bytes.starts_with(b"READY: fake fake://there\n\xff\xfe\0\n"));
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches('x').count(), 100_000);
}

#[test]
fn a_reader_that_stalls_does_not_hold_up_a_stop() {
    let fixture = Fixture::new();
    let script = format!(
        "(while :; do echo noise noise noise; done) & N=$!; \
                          trap 'kill $N; exit 0' TERM; {}",
        POLITE.split_once("TERM; ").unwrap().1
    );
    // Nothing reads stderr: its pipe fills within milliseconds.
    let running = fixture.start(&mut fixture.command(&script));
    running.signal(Signal::TERM);
    let mut child = running.child;
    assert_eq!(child.status(SOON).code(), Some(0));
    assert!(!lives(running.server));
}

#[test]
fn environment_of_the_server_is_clean() {
    let fixture = Fixture::new();
    let script = format!("env >env; {POLITE}");
    let mut command = fixture.command(&script);
    let running = fixture.start(command.env("FAKE_SECRET", "x"));
    running.signal(Signal::TERM);
    running.end();
    let allowed = [
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "FAKE_GIVEN",
        "PWD",
        "SHLVL",
        "OLDPWD",
        "_",
    ];
    let text = fixture.read("env");
    assert!(text.contains("FAKE_GIVEN=given\n"), "{text}");
    for line in text.lines() {
        let name = line.split('=').next().unwrap();
        assert!(allowed.contains(&name), "{name} reached the server");
    }
}

#[test]
fn a_second_wrapper_is_told_who_holds_the_directory() {
    let fixture = Fixture::new();
    let running = fixture.start(&mut fixture.command(POLITE));
    let output = fixture.command(POLITE).output().unwrap();
    assert_eq!(output.status.code(), Some(15));
    let holders = format!(
        "{} and {}",
        running.child.0.id(),
        running.server.as_raw_nonzero()
    );
    let text = stderr(&output);
    assert!(
        text.contains(&format!("is in use by process {holders}\n")),
        "{text}"
    );
    assert!(lives(running.server));
    running.signal(Signal::TERM);
    running.end();
}

#[test]
fn a_killed_server_is_started_again_as_often_as_allowed() {
    let fixture = Fixture::new();
    let mut command = fixture.command(POLITE);
    let running = fixture.start(command.env("FAKE_RESPAWNS", "2"));
    let mut server = running.server;
    for _ in 0..2 {
        fs::remove_file(fixture.path("pid")).unwrap();
        kill_process(server, Signal::KILL).unwrap();
        let next = pid_in(&fixture.path("pid"));
        assert_ne!(next, server);
        server = next;
    }
    kill_process(server, Signal::KILL).unwrap();
    let (status, text) = running.end();
    assert_eq!(status.code(), Some(137), "{text}");
    assert!(
        text.contains("starting it again (2 of 2 in a minute)"),
        "{text}"
    );
}

#[test]
fn reload_is_reported_in_the_file() {
    let fixture = Fixture::new();
    let running = fixture.start(&mut fixture.command(POLITE));
    let wrapper = running.child.0.id();
    let reload = |count: u32, rest: &str| {
        running.signal(Signal::HUP);
        let expected = format!(r#"{{"wrapper":{wrapper},"count":{count},{rest}}}"#);
        until(SOON, &expected, || fixture.read("reload.json") == expected);
    };
    reload(
        1,
        r#""applied":null,"error":"No such file or directory (os error 2)""#,
    );
    fs::write(fixture.path("wanted"), "v2").unwrap();
    reload(2, r#""applied":"v2","error":null"#);
    assert!(lives(running.server));
    running.signal(Signal::TERM);
    let (status, _) = running.end();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_report_names_the_settings_that_are_in_effect() {
    let fixture = Fixture::new();
    let settings = |id: &str, env: &str| {
        let text = format!(r#"{{"id": "{id}", "env": {env}}}"#);
        fs::write(fixture.path("settings.json"), text).unwrap();
    };
    // The file has the variables that the environment lacks.
    settings(
        "one",
        &format!(r#"{{"FAKE_SCRIPT": "{}"}}"#, POLITE.replace('\n', " ")),
    );
    fs::write(fixture.path("wanted"), "v2").unwrap();
    let mut command = fixture.command(POLITE);
    command.env_remove("FAKE_SCRIPT");
    command.env("CORE_SETTINGS_FILE", fixture.path("settings.json"));
    let running = fixture.start(&mut command);
    let wrapper = running.child.0.id();
    let report = |count: u32, rest: &str| {
        let expected = format!(r#"{{"wrapper":{wrapper},"count":{count},{rest}}}"#);
        until(SOON, &expected, || fixture.read("reload.json") == expected);
    };
    report(0, r#""applied":null,"error":null,"settings":"one""#);
    settings("two", "{");
    running.signal(Signal::HUP);
    until(SOON, "a refusal", || {
        fixture.read("reload.json").contains("are damaged")
    });
    assert!(
        fixture
            .read("reload.json")
            .ends_with(r#""settings":"one"}"#)
    );
    settings("two", "{}");
    running.signal(Signal::HUP);
    report(2, r#""applied":"v2","error":null,"settings":"two""#);
    running.signal(Signal::TERM);
    let (status, _) = running.end();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn supervised_server_stays_in_the_wrappers_group_and_a_free_one_does_not() {
    for (supervised, same) in [("1", true), ("", false)] {
        let fixture = Fixture::new();
        let mut command = fixture.command(POLITE);
        let running = fixture.start(command.env("CORE_SUPERVISED", supervised));
        let wrapper = Some(running.child.pid());
        let group = |pid| rustix::process::getpgid(pid).unwrap();
        assert_eq!(group(wrapper) == group(Some(running.server)), same);
        running.signal(Signal::TERM);
        running.end();
    }
}

/// Starts a supervised wrapper below a shell that is then killed; returns the server.
fn orphan(fixture: &Fixture, script: &str) -> (Pid, BufReader<ChildStdout>) {
    let wrapper = fixture.command(script).get_program().to_owned();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("\"$0\"; exit").arg(wrapper);
    shell.env("FAKE_DIR", fixture.dir.path());
    shell.env("FAKE_SCRIPT", script).env("CORE_SUPERVISED", "1");
    // The test keeps it open: only the exit of the parent must be noticed.
    shell.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut shell = Guard(shell.spawn().unwrap());
    let server = pid_in(&fixture.path("pid"));
    let (line, stdout) = first_line(shell.0.stdout.take().unwrap());
    assert!(line.starts_with("READY"), "{line}");
    drop(shell);
    (server, stdout)
}

#[test]
fn the_end_of_the_parent_ends_the_server() {
    for script in [POLITE, DEAF] {
        let fixture = Fixture::new();
        let (server, _stdout) = orphan(&fixture, script);
        until(ORPHAN_LIMIT, "the server ends", || !lives(server));
        assert_eq!(fixture.read("terms"), "term\n");
    }
}

#[test]
fn an_unread_stdout_ends_a_supervised_wrapper() {
    let fixture = Fixture::new();
    let mut command = fixture.command(POLITE);
    let running = fixture.start(command.env("CORE_SUPERVISED", "1"));
    let mut child = running.child;
    drop(running.stdout);
    assert_eq!(child.status(ORPHAN_LIMIT).code(), Some(0));
    assert!(!lives(running.server));
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_wrapper_takes_its_server_along_and_the_next_one_starts() {
    let fixture = Fixture::new();
    // Stops slowly: the next wrapper has to wait for it.
    let slow = POLITE.replace("exit 0", "sleep 0.3; exit 0");
    let mut first = fixture.start(&mut fixture.command(&slow));
    fs::remove_file(fixture.path("pid")).unwrap();
    fs::remove_file(fixture.path("ready")).unwrap();
    first.child.0.kill().unwrap();
    first.child.0.wait().unwrap();
    let second = fixture.start(&mut fixture.command(POLITE));
    assert!(!lives(first.server));
    assert_eq!(fixture.read("terms"), "term\n");
    second.signal(Signal::TERM);
    second.end();
}

#[test]
fn orders_besides_running() {
    let fixture = Fixture::new();
    let output = fixture.command("x").arg("spec").output().unwrap();
    assert_eq!(output.stdout, b"{\"fake\": true}\n");
    let output = fixture.command("x").arg("check").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let output = fixture.command("").arg("check").output().unwrap();
    assert_eq!(output.status.code(), Some(10));
    let expected = "error: the settings of `fake` are invalid: FAKE_SCRIPT is not set\n\
                    hint: correct what is named in `.env`, in the environment or in the manifest\n";
    assert_eq!(stderr(&output), expected);
    let output = fixture.command("x").arg("else").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
