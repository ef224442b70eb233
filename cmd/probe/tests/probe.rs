//! The probe against small servers with scripted answers.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use kit::files::FileLock;

/// Longest wait for anything that must happen soon.
const SOON: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Serves one answer after the other, the last one for ever.
fn serve(listener: TcpListener, statuses: &'static [u16]) {
    std::thread::spawn(move || {
        let mut left = statuses;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let status = left[0];
            if left.len() > 1 {
                left = &left[1..];
            }
            let _ = write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
        }
    });
}

fn server(statuses: &'static [u16]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, statuses);
    address
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_probe"));
    command.args(arguments.split_whitespace());
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn probe(arguments: &str) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_healthy_server() {
    let address = server(&[200]);
    let (code, text) = probe(&format!("http http://{address}/healthz --limit 10"));
    assert_eq!((code, text.as_str()), (Some(0), ""));
    let (code, _) = probe(&format!("tcp {address} --limit 10"));
    assert_eq!(code, Some(0));
}

#[test]
fn a_healthy_server_is_asked_once() {
    let address = server(&[200, 404]);
    let line = format!("http http://{address}/ --limit 10");
    assert_eq!(probe(&line).0, Some(0));
    assert_eq!(probe(&line).0, Some(1));
}

#[test]
fn any_form_of_an_answer_counts() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nok",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let (code, text) = probe(&format!("http http://{address}/ --limit 10"));
        assert_eq!((code, text.as_str()), (Some(0), ""), "{answer:?}");
    }
}

#[test]
fn waits_through_server_errors() {
    let address = server(&[503, 500, 503, 204]);
    let (code, text) = probe(&format!("http http://{address}/ --limit 10"));
    assert_eq!((code, text.as_str()), (Some(0), ""));
}

#[test]
fn waits_for_a_server_that_comes_later() {
    for kind in ["http http://", "tcp "] {
        let address = free_address();
        let mut child = command(&format!("{kind}{address} --limit 10"))
            .spawn()
            .unwrap();
        // After a while of refused connections, it has polled at least once.
        let watched = Instant::now();
        while watched.elapsed() < POLL_INTERVAL * 10 {
            assert!(child.try_wait().unwrap().is_none(), "{kind} gave up");
            std::thread::sleep(POLL_INTERVAL);
        }
        serve(TcpListener::bind(address).unwrap(), &[200]);
        assert_eq!(end(&mut child), Some(0), "{kind}");
    }
}

#[test]
fn other_answers_are_wrong_at_once() {
    for statuses in [&[404][..], &[301], &[401]] {
        let address = server(statuses);
        let (code, text) = probe(&format!("http http://{address}/ --limit 10"));
        assert_eq!(code, Some(1));
        let status = statuses[0];
        let expected = format!("error: `http://{address}/` answered with status {status}\n");
        assert_eq!(text, expected);
    }
}

#[test]
fn a_wanted_status() {
    let address = server(&[503]);
    let (code, _) = probe(&format!("http http://{address}/ --status 503 --limit 10"));
    assert_eq!(code, Some(0));
    let address = server(&[200]);
    let (code, _) = probe(&format!("http http://{address}/ --status 204 --limit 10"));
    assert_eq!(code, Some(1));
}

#[test]
fn a_silent_server_fails_after_a_second() {
    // No server accepts, but the kernel completes the connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let before = Instant::now();
    let (code, text) = probe(&format!("http http://{address}/ --limit 60"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("did not answer in time"), "{text}");
    assert!(before.elapsed() < SOON, "{:?}", before.elapsed());
}

#[test]
fn the_limit_holds() {
    let address = free_address();
    let before = Instant::now();
    let (code, text) = probe(&format!("http http://{address}/ --limit 0.2"));
    assert_eq!(code, Some(1));
    let expected = format!("error: not ready within 0.2 s: nothing listens at `{address}`\n");
    assert_eq!(text, expected);
    assert!(before.elapsed() < SOON, "{:?}", before.elapsed());
}

#[test]
fn ends_when_its_parent_goes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut shell = Command::new("sh");
    let probe = env!("CARGO_BIN_EXE_probe");
    let script = "\"$0\" http \"$1\" --limit 60 & wait";
    shell.args(["-c", script, probe, &url]);
    shell.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut shell = shell.spawn().unwrap();
    let mut stdout = shell.stdout.take().unwrap();
    // Once it polls the server, it watches its parent, too.
    let (mut stream, _) = listener.accept().unwrap();
    serve(listener, &[503]);
    stream
        .write_all(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    shell.kill().unwrap();
    shell.wait().unwrap();
    // The pipe ends when the last process that holds it exits: the probe.
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = stdout.read_to_end(&mut rest);
        let _ = sender.send(());
    });
    assert!(ended.recv_timeout(SOON).is_ok(), "the probe lives on");
}

#[test]
fn a_lock_is_waited_for_and_not_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ready.lock");
    let line = format!("lock {} --limit", file.display());
    let nobody = format!("no process holds the lock `{}`\n", file.display());
    // No file, then one that a dead process has left.
    for _ in 0..2 {
        let (code, text) = probe(&format!("{line} 0.2"));
        assert_eq!(code, Some(1));
        assert_eq!(text, format!("error: not ready within 0.2 s: {nobody}"));
        drop(FileLock::try_exclusive(&file).unwrap().unwrap());
    }
    let mut child = command(&format!("{line} 10")).spawn().unwrap();
    let lock = {
        let deadline = Instant::now() + SOON;
        loop {
            // Each poll takes a shared lock for a moment.
            if let Some(lock) = FileLock::try_exclusive(&file).unwrap() {
                break lock;
            }
            assert!(Instant::now() < deadline, "the lock is never free");
        }
    };
    assert_eq!(end(&mut child), Some(0));
    assert_eq!(probe(&format!("{line} 10")).0, Some(0));
    drop(lock);
}

#[test]
fn usage_errors() {
    let (code, text) = probe("http --limit 1");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("hint: probe http URL"), "{text}");
}

fn end(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "the probe does not end");
        std::thread::sleep(POLL_INTERVAL);
    }
}
