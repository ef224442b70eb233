//! The program that simulates a service in the end-to-end tests: it serves, dies, hangs, refuses to
//! stop, and writes down its inputs, as its arguments say.
//!
//! `xtask-fake [ORDER...] [-- WHATEVER]`, orders in any sequence:
//! `--listen PORT`        answer GET requests with `--status` (default 200), the port and the path;
//!                        after an upgrade, with what arrives
//! `--bind ADDRESS`       listen there, not on 127.0.0.1
//! `--status N`           the status of the answers
//! `--dump FILE`          write arguments and environment, each ended by NUL, in one step
//! `--say TEXT`           print a line on stdout
//! `--ignore-term`        do not exit on SIGTERM
//! `--journal FILE NAME`  append `NAME begins` to a file, and at SIGTERM `NAME ends`
//! `--slow-end MS`        with a journal: milliseconds between SIGTERM and the exit
//! `--exit CODE`          exit at once, after everything else
//! `--fail-unless NAME`   exit with code 1 and an error that names the variable, unless it is set

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a service says"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{env, fs, io, thread};

use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    match play() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> io::Result<ExitCode> {
    let mut arguments = env::args().skip(1).take_while(|argument| argument != "--");
    let (mut listen, mut status, mut exit) = (None, 200, None::<u8>);
    let mut bind = "127.0.0.1".to_owned();
    let (mut journal, mut slow_end) = (None, Duration::ZERO);
    while let Some(order) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| io::Error::other("a value is missing"))
        };
        match order.as_str() {
            "--listen" => listen = Some(number(&value()?)?),
            "--bind" => bind = value()?,
            "--status" => status = number(&value()?)?,
            "--exit" => exit = Some(number(&value()?)?),
            "--dump" => dump(&value()?)?,
            "--say" => println!("{}", value()?),
            "--ignore-term" => {
                signal_hook::flag::register(
                    signal_hook::consts::SIGTERM,
                    Arc::new(AtomicBool::new(false)),
                )?;
            }
            "--journal" => journal = Some((value()?, value()?)),
            "--slow-end" => slow_end = Duration::from_millis(number(&value()?)?),
            "--fail-unless" => {
                let name = value()?;
                if env::var_os(&name).is_none_or(|value| value.is_empty()) {
                    return Err(io::Error::other(format!("{name} is not set")));
                }
            }
            other => return Err(io::Error::other(format!("unknown order `{other}`"))),
        }
    }
    if let Some(code) = exit {
        return Ok(ExitCode::from(code));
    }
    if let Some((file, name)) = journal {
        keep_journal(file, name, slow_end)?;
    }
    match listen {
        Some(port) => serve(&bind, port, status),
        None => loop {
            thread::park();
        },
    }
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse()
        .map_err(|_| io::Error::other(format!("`{text}` is not a number")))
}

/// Writes all inputs of this process, byte for byte, by a rename, so that readers see a whole file.
fn dump(file: &str) -> io::Result<()> {
    let mut bytes = Vec::new();
    for argument in env::args_os() {
        bytes.extend(argument.as_bytes());
        bytes.push(0);
    }
    // An empty entry and the pid separate arguments and environment.
    bytes.push(0);
    bytes.extend(std::process::id().to_string().as_bytes());
    bytes.push(0);
    for (name, value) in env::vars_os() {
        bytes.extend(name.as_bytes());
        bytes.push(b'=');
        bytes.extend(value.as_bytes());
        bytes.push(0);
    }
    let half = format!("{file}.half");
    fs::write(&half, bytes)?;
    fs::rename(half, file)
}

fn keep_journal(file: String, name: String, slow_end: Duration) -> io::Result<()> {
    let write = move |what: &str| {
        let mut journal = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file)?;
        journal.write_all(format!("{name} {what}\n").as_bytes())
    };
    write("begins")?;
    let mut signals = Signals::new([SIGTERM])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            thread::sleep(slow_end);
            let code = write("ends").map_or(1, |()| 0);
            #[expect(clippy::exit, reason = "the listening thread knows nothing of it")]
            std::process::exit(code);
        }
    });
    Ok(())
}

fn serve(bind: &str, port: u16, status: u16) -> io::Result<ExitCode> {
    let listener = TcpListener::bind((bind, port))?;
    println!("listening on {port}");
    for stream in listener.incoming() {
        // A client that disconnected does not matter.
        thread::spawn(move || stream.and_then(|stream| answer(stream, port, status)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers with the port and the path of the request. After an upgrade, returns what it receives.
fn answer(stream: TcpStream, port: u16, status: u16) -> io::Result<()> {
    let mut request = BufReader::new(stream);
    let mut first = String::new();
    request.read_line(&mut first)?;
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (mut line, mut upgrade) = (String::new(), false);
    while request.read_line(&mut line)? > 2 {
        upgrade |= line.to_ascii_lowercase().starts_with("upgrade:");
        line.clear();
    }
    if upgrade {
        let head = "HTTP/1.1 101 Fake\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        request.get_mut().write_all(head.as_bytes())?;
        let mut back = request.get_ref().try_clone()?;
        return io::copy(&mut request, &mut back).map(drop);
    }
    let body = format!("{port} {path}");
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} Fake\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    request
        .get_mut()
        .write_all(format!("{head}{body}").as_bytes())
}
