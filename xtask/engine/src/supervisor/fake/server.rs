//! The fake's socket: requests, answers, and pushed states.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Shared;
use super::model::{Fault, Stop, World};
use crate::supervisor::state::PUSHES;

/// How often anything is polled.
const TICK: Duration = Duration::from_millis(1);
/// How long a connection may be silent: longer than any client waits.
const SILENCE: Duration = Duration::from_secs(8);

/// Listens until the fake is dropped.
pub(super) fn spawn(shared: &Arc<Shared>) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut listener: Option<UnixListener> = None;
        while !shared.world().quit {
            if listener.is_some() && !shared.world().listens {
                listener = None;
                let _ = fs::remove_file(&shared.socket);
            }
            // A program that replaces the supervisor was started, after the socket was removed.
            if !shared.world().silent && shared.holder.exists() && !shared.socket.exists() {
                listener = Some(bind(&shared));
            }
            match listener.as_ref().map(UnixListener::accept) {
                Some(Ok((stream, _))) => {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || serve(&shared, &stream));
                }
                _ => thread::sleep(TICK),
            }
        }
    })
}

fn bind(shared: &Shared) -> UnixListener {
    let file = fs::read_to_string(&shared.file).unwrap();
    shared.world().boot(&file);
    let listener = UnixListener::bind(&shared.socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Answers one request. A client that disconnects in between is ignored.
fn serve(shared: &Shared, stream: &UnixStream) {
    stream.set_nonblocking(false).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return;
    };
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|size| size > 2) {
        header.clear();
    }
    let fault = {
        let mut world = shared.world();
        world.advance();
        world.take_fault(&format!("{method} {path}"))
    };
    match fault {
        None | Some(Fault::Not) => {
            if path == PUSHES {
                push(shared, stream);
            } else {
                let (status, body) = answer(shared, method, path);
                respond(stream, status, &body.to_string());
            }
        }
        Some(Fault::Cut) => cut(stream),
        Some(Fault::CutAfter) => {
            answer(shared, method, path);
            cut(stream);
        }
        Some(Fault::Silent) => {
            stream.set_read_timeout(Some(SILENCE)).unwrap();
            let _ = { stream }.read(&mut [0]);
        }
        Some(Fault::Refuse(status, text)) => {
            shared.world().note("refused".to_owned());
            respond(stream, status, &json!({"error": text}).to_string());
        }
        Some(Fault::Garbage) => respond(stream, 200, "[1, 2"),
        Some(Fault::Crash) => shared.die(World::crash),
    }
}

fn respond(mut stream: &UnixStream, status: u16, body: &str) {
    let size = body.len();
    let head =
        format!("HTTP/1.1 {status} x\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

fn cut(mut stream: &UnixStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n{");
}

fn answer(shared: &Shared, method: &str, path: &str) -> (u16, Value) {
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let mut world = shared.world();
    match (method, words.as_slice()) {
        ("GET", ["live"]) => (200, json!({"status": "alive"})),
        ("GET", ["processes"]) => (200, json!({"data": world.states()})),
        ("POST", ["project", "configuration"]) => {
            world.note("reload".to_owned());
            let file = fs::read_to_string(&shared.file).unwrap();
            (200, world.reload(&file))
        }
        ("POST", ["project", "stop"]) => {
            world.note("down".to_owned());
            drop(world);
            shared.die(World::shut_down);
            (200, json!({"status": "stopped"}))
        }
        ("POST", ["process", "start", name]) => {
            world.note(format!("start {name}"));
            world.start(name)
        }
        ("PATCH", ["process", "signal", name, signal]) => {
            world.note(format!("signal {name} {signal}"));
            world.signal(name)
        }
        ("PATCH", ["process", "stop", name]) => {
            world.note(format!("stop {name}"));
            let begun = Instant::now();
            let mut stop = world.order_stop(name);
            drop(world);
            loop {
                match stop {
                    Stop::Answer(status, body) => return (status, body),
                    Stop::Wait => thread::sleep(TICK),
                }
                let mut world = shared.world();
                if world.quit {
                    return (500, Value::Null);
                }
                world.advance();
                stop = world.look_at_stop(name, begun);
            }
        }
        _ => (404, json!({"error": "not found"})),
    }
}

/// Pushes states on a websocket, all at first and then after each change, until the fake ends or a
/// fault of `PUSH` cuts it.
fn push(shared: &Shared, mut stream: &UnixStream) {
    let head = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    let mut told = None;
    loop {
        let (changes, states) = {
            let mut world = shared.world();
            if world.quit || !world.listens || world.take_fault("PUSH").is_some() {
                return;
            }
            world.advance();
            (world.changes, world.states())
        };
        if told == Some(changes) {
            thread::sleep(TICK);
            continue;
        }
        told = Some(changes);
        for state in states {
            let text = json!({"state": state}).to_string();
            let size = u16::try_from(text.len()).unwrap().to_be_bytes();
            let mut frame = vec![0x81, 126, size[0], size[1]];
            frame.extend(text.as_bytes());
            if stream.write_all(&frame).is_err() {
                return;
            }
        }
    }
}
