//! The page about applications, block by block, with the real npm, Vite, cargo and Python.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::harness::{SOON, Sandbox, eventually, http, same, tell_missing};
use crate::init::own_workspace;

/// The page.
const PAGE: &str = include_str!("../../../docs/your-app.md");
/// How long one block may take: `up` builds the API, on a machine with other work.
const BLOCK_LIMIT: Duration = Duration::from_mins(10);

/// Copies what is compiled already: `up` builds with other features, and must not replace programs
/// that other tests run. A fingerprint is written last, so it is copied first.
const COPY: &str = "
    mkdir -p target/debug/deps
    cp -a $T/.fingerprint $T/build target/debug
    find $T/deps -type f -name '*.?*' -exec cp -a -t target/debug/deps {} +
";

/// Returns the directory of the programs under test.
fn target() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap()
}

/// Returns the blocks of the page in a language.
fn blocks(language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    let parts = PAGE.split(&begin).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

/// Returns a program that is needed and not installed.
fn missing() -> Option<&'static str> {
    let programs = ["npm", "python3", "curl"];
    programs.into_iter().find(|program| !is_installed(program))
}

fn is_installed(program: &&str) -> bool {
    let found = Command::new(program).arg("--version").output();
    found.is_ok_and(|output| output.status.success())
}

/// Makes `cargo xtask` in the sandbox the program under test: the alias would build it again. Other
/// tests run meanwhile, so a build takes only what they leave.
fn cargo_of_the_tests(sandbox: &Sandbox) -> String {
    let folder = sandbox.path("../bin");
    fs::create_dir(&folder).unwrap();
    let (xtask, cargo) = (env!("CARGO_BIN_EXE_xtask"), std::env::var("CARGO").unwrap());
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = xtask ]; then shift; exec '{xtask}' \"$@\"; fi\n\
         exec nice -n 19 '{cargo}' \"$@\"\n"
    );
    let program = folder.join("cargo");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", folder.display())
}

/// Edits the style while a page has the socket of Vite open, and waits until Vite tells the page.
fn an_edit_reaches_the_page(sandbox: &Sandbox, caddy: u16) {
    // Vite watches what a page has loaded.
    for path in ["/", "/src/main.js", "/src/style.css"] {
        same(path, http::get(caddy, path).status, 200);
    }
    let client = http::get(caddy, "/@vite/client").body;
    let token = client.split("wsToken = \"").nth(1).unwrap();
    let token = token.split('"').next().unwrap();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, caddy)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = format!(
        "GET /?token={token} HTTP/1.1\r\nHost: 127.0.0.1:{caddy}\r\n\
         Origin: http://127.0.0.1:{caddy}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: vite-hmr\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let mut status = String::new();
    stream.read_line(&mut status).unwrap();
    assert!(status.contains(" 101 "), "{status}");
    edit_the_style(sandbox, "40rem");
    let (mut arrived, mut part) = (String::new(), [0; 4096]);
    while !(arrived.contains("\"update\"") && arrived.contains("/src/style.css")) {
        let length = stream.read(&mut part).expect("Vite tells of the edit");
        assert!(length > 0, "Vite closed its socket after {arrived:?}");
        arrived.push_str(&String::from_utf8_lossy(&part[..length]));
    }
}

/// Makes the page say by requests how it looks, and that it was not loaded again.
fn make_the_page_tell(sandbox: &Sandbox) {
    let main = sandbox.path("services/web/src/main.js");
    let text = fs::read_to_string(&main).unwrap();
    let tell = "window.loads = (window.loads ?? 0) + 1;\n\
        const look = () => `${window.loads}-${getComputedStyle(document.body).maxWidth}`;\n\
        const tell = (what) => fetch(`/api/${what}-${look()}`);\n\
        import.meta.hot.on(\"vite:afterUpdate\", () => tell(\"updated\"));\n\
        await tell(\"loaded\");\n";
    fs::write(&main, format!("{text}{tell}")).unwrap();
}

/// Opens the page in a browser, if there is one, and edits its style.
fn a_browser_shows_the_edit(sandbox: &Sandbox, caddy: u16) {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let Some(browser) = browsers.into_iter().find(is_installed) else {
        return tell_missing("your_app::a_browser_shows_the_edit", "chromium");
    };
    let profile = sandbox.path("../browser");
    let mut page = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-port=0",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("http://127.0.0.1:{caddy}/"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let asked = |what: &str| {
        eventually(what, SOON, || {
            let log = sandbox.read(".data/caddy/access.log");
            log.contains(what).then_some(())
        });
    };
    asked("/api/loaded-1-640px");
    edit_the_style(sandbox, "33rem");
    asked("/api/updated-1-528px");
    // It ends its own children, and is waited for: nothing of it is left.
    rustix::process::kill_process(Pid::from_child(&page), Signal::TERM).unwrap();
    page.wait().unwrap();
}

/// Sets the width of the page.
fn edit_the_style(sandbox: &Sandbox, width: &str) {
    let style = sandbox.path("services/web/src/style.css");
    let text = fs::read_to_string(&style).unwrap();
    let (before, after) = text.split_once("max-width: ").unwrap();
    let after = after.split_once(';').unwrap().1;
    fs::write(&style, format!("{before}max-width: {width};{after}")).unwrap();
}

#[test]
fn every_block_of_the_page_works() {
    if let Some(program) = missing() {
        return tell_missing("your_app::every_block_of_the_page_works", program);
    }
    let sandbox = Sandbox::core();
    own_workspace(&sandbox);
    sandbox.own_binaries();
    let path = cargo_of_the_tests(&sandbox);
    let cargo = sandbox.path("../bin/cargo");
    let variables = [("PATH", path.as_str()), ("CARGO", cargo.to_str().unwrap())];
    let copy = format!("T='{}'\n{COPY}", target().display());
    sandbox.shell(&copy, &variables, BLOCK_LIMIT).succeeds();
    let caddy = sandbox.port("caddy.http");
    let mut said = Vec::new();
    for block in blocks("sh") {
        let run = sandbox.shell(&block, &variables, BLOCK_LIMIT).succeeds();
        if block.contains("npm install") {
            make_the_page_tell(&sandbox);
        }
        if block.contains("xtask up")
            && said
                .iter()
                .all(|(block, _): &(String, _)| !block.contains("up"))
        {
            let page = http::get(caddy, "/").body;
            assert!(page.contains("/@vite/client"), "{page}");
            an_edit_reaches_the_page(&sandbox, caddy);
            a_browser_shows_the_edit(&sandbox, caddy);
        }
        said.push((block, run.stdout));
    }
    let answer = |part: &str| {
        let found = said.iter().find(|(block, _)| block.contains(part));
        found.map(|(_, stdout)| stdout.as_str()).unwrap()
    };
    assert!(answer("/api/health").contains("healthy"));
    assert!(answer("$SERVER_URL/hello").contains("\"hello\":\"from server\""));
    same("the worker", answer("request(\"worker\""), "hello Ada\n");
    sandbox.nothing_is_left_within(SOON);
}

#[test]
fn a_service_in_a_container_is_a_manifest_in_form() {
    let mut sandbox = Sandbox::core();
    let [manifest] = blocks("json").try_into().unwrap();
    sandbox.service("postgres", &serde_json::from_str(&manifest).unwrap());
    sandbox.run("render --check").succeeds();
    let command = sandbox.run("postgres command").succeeds().stdout;
    assert!(!command.contains("postgres-password"), "{command}");
    let port = sandbox.port("postgres.db");
    assert!(
        command.contains(&format!("127.0.0.1:{port}:5432")),
        "{command}"
    );
}
