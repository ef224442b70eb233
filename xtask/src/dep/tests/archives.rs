//! Release archives from a server that answers correctly, wrongly or not at all.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use kit::Exit;

use super::{exit, told};
use crate::dep::lock::Artefacts;
use crate::dep::testing::{Answer, Bed, Server, artefact, tar_gz, zip_with};

const URL: &str = "https://github.com/o/tool/releases/download/v1.0.0/tool.tar.gz";
const PATH: &str = "/o/tool/releases/download/v1.0.0/tool.tar.gz";
/// Longest time until a download fails; the limits of a bed are far below.
const SOON: Duration = Duration::from_secs(8);

fn good() -> Vec<u8> {
    tar_gz(&[("tool", "the tool")], None)
}

fn pinned(url: &str, download: &[u8]) -> Artefacts {
    Artefacts {
        archive: Some(artefact(url, Some(download), None)),
        wheel: None,
    }
}

/// Returns a bed whose program `tool` is pinned as `archive` and comes from `server`.
fn bed(server: &Server, archive: &[u8]) -> Bed {
    let mut bed = Bed::new();
    bed.pin([("tool", pinned(URL, archive))]);
    bed.mirror(&server.url());
    bed
}

/// Fetches from a server with one answer, and returns the error and its exit code.
fn failure(answer: Answer) -> (String, Exit) {
    let server = Server::start([(PATH, answer)]);
    let bed = bed(&server, &good());
    let started = Instant::now();
    let error = bed.fetch(&["tool"]).unwrap_err();
    assert!(started.elapsed() < SOON);
    assert_eq!(bed.installed("tool"), None);
    (told(&error), exit(&error))
}

#[test]
fn both_formats_install_once() {
    let zip = zip_with(&[("tool", "zipped")], None);
    let zip_url = "https://github.com/o/zipped/tool.zip";
    let server = Server::start([
        (PATH, Answer::Body(good())),
        ("/o/zipped/tool.zip", Answer::Body(zip.clone())),
    ]);
    let bed = bed(&server, &good());
    bed.pin([
        ("tool", pinned(URL, &good())),
        ("zipped", pinned(zip_url, &zip)),
    ]);
    let installed = bed.fetch(&["tool", "zipped"]).unwrap();
    assert_eq!(installed["tool"].source, "archive");
    assert_eq!(installed["tool"].version.as_deref(), Some("1.0.0"));
    assert_eq!(bed.installed("tool").as_deref(), Some("the tool"));
    assert_eq!(bed.installed("zipped").as_deref(), Some("zipped"));
    assert_eq!(bed.fetch(&["tool", "zipped"]).unwrap(), installed);
    assert_eq!(server.asked().len(), 2, "the second call asks nobody");
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let server = Server::start([
        (PATH, Answer::Redirect("/moved".into())),
        ("/moved", Answer::Body(good())),
    ]);
    let bed = bed(&server, &good());
    bed.fetch(&["tool"]).unwrap();
    assert_eq!(server.asked(), [PATH, "/moved"]);

    let (text, code) = failure(Answer::Redirect(PATH.into()));
    assert!(text.contains("more than 5 redirects"), "{text}");
    assert_eq!(code, Exit::Binary);
    let (text, _) = failure(Answer::Redirect("ftp://example.com/".into()));
    assert!(text.contains("is not http or https"), "{text}");
}

#[test]
fn servers_that_fail_are_named_with_what_they_did() {
    for (answer, expected) in [
        (Answer::Truncated(good()), "breaks off after"),
        (Answer::Stalled(good()), "is silent for 0.3 s after"),
        (Answer::Silent, "is silent for 0.3 s"),
        (Answer::Status(503), "answers 503"),
        (Answer::Status(404), "answers 404"),
        (Answer::Endless, "is larger than 1048576 bytes"),
        (
            Answer::Body(vec![0; 2 << 20]),
            "is larger than 1048576 bytes",
        ),
    ] {
        let shown = format!("{answer:?}").chars().take(20).collect::<String>();
        let (text, code) = failure(answer);
        assert!(text.contains(expected), "{shown}: {text}");
        assert!(
            text.contains("tool 1.0.0: archive: http://127.0.0.1:"),
            "{text}"
        );
        assert_eq!(code, Exit::Binary);
    }
}

#[test]
fn a_lie_stops_everything_and_names_both_digests() {
    let lie = tar_gz(&[("tool", "evil")], None);
    let other = "https://github.com/o/other/tool.tar.gz";
    let server = Server::start([
        (PATH, Answer::Body(lie.clone())),
        ("/o/other/tool.tar.gz", Answer::Silent),
    ]);
    let bed = bed(&server, &good());
    // Another source must not be tried, and other work stops.
    let python = "echo used > used; exit 1";
    bed.tool("python3", python);
    let mut artefacts = pinned(URL, &good());
    artefacts.wheel = Some(artefact("tool-bin==1.0.0", Some(b"x"), None));
    bed.pin([("tool", artefacts), ("other", pinned(other, &good()))]);
    let started = Instant::now();
    let error = bed.fetch(&["tool", "other"]).unwrap_err();
    assert!(started.elapsed() < SOON);
    let text = told(&error);
    for expected in [
        // The host that was contacted, not the one that it replaces.
        "127.0.0.1",
        PATH,
        &engine::base::digest::of_bytes(&lie),
        &engine::base::digest::of_bytes(&good()),
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(exit(&error), Exit::Binary);
    assert_eq!(bed.installed("tool"), None);
}

#[test]
fn the_binary_inside_is_checked_too() {
    let server = Server::start([(PATH, Answer::Body(good()))]);
    let bed = bed(&server, &good());
    let pin = |binary| Artefacts {
        archive: Some(artefact(URL, None, Some(binary))),
        wheel: None,
    };
    bed.pin([("tool", pin("another tool"))]);
    let text = told(&bed.fetch(&["tool"]).unwrap_err());
    assert!(
        text.contains("wrong digest of `tool` in https://"),
        "{text}"
    );
    bed.pin([("tool", pin("the tool"))]);
    bed.fetch(&["tool"]).unwrap();
}

#[test]
fn an_archive_with_a_link_or_without_the_file_installs_nothing() {
    for (archive, expected) in [
        (tar_gz(&[], Some(("tool", "/bin/sh"))), "not a regular file"),
        (tar_gz(&[("tool2", "x")], None), "it is not there"),
    ] {
        let server = Server::start([(PATH, Answer::Body(archive.clone()))]);
        let bed = bed(&server, &archive);
        let error = bed.fetch(&["tool"]).unwrap_err();
        assert!(told(&error).contains(expected), "{error:#}");
        assert_eq!(exit(&error), Exit::Binary);
        assert_eq!(bed.installed("tool"), None);
    }
}

#[test]
fn two_at_once_download_once() {
    let server = Server::start([(PATH, Answer::Body(good()))]);
    let bed = bed(&server, &good());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| bed.fetch(&["tool"])))
            .collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_replaced_file_is_had_again() {
    let server = Server::start([(PATH, Answer::Body(good()))]);
    let bed = bed(&server, &good());
    bed.fetch(&["tool"]).unwrap();
    fs::write(bed.paths.dep().join("tool"), "evil").unwrap();
    bed.fetch(&["tool"]).unwrap();
    assert_eq!(bed.installed("tool").as_deref(), Some("the tool"));
    fs::remove_file(bed.paths.dep().join("tool")).unwrap();
    bed.fetch(&["tool"]).unwrap();
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_new_pin_of_the_same_version_is_had_again() {
    let other = tar_gz(&[("tool", "rebuilt")], None);
    let server = Server::start([(PATH, Answer::Body(good()))]);
    let mut bed = bed(&server, &good());
    bed.fetch(&["tool"]).unwrap();
    let server = Server::start([(PATH, Answer::Body(other.clone()))]);
    bed.mirror(&server.url());
    bed.pin([("tool", pinned(URL, &other))]);
    bed.fetch(&["tool"]).unwrap();
    assert_eq!(bed.installed("tool").as_deref(), Some("rebuilt"));
}

#[test]
fn a_host_that_refuses_is_unreachable_at_once() {
    // Bound and closed: nothing listens there now.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut bed = Bed::new();
    bed.pin([
        ("tool", pinned(URL, &good())),
        ("two", pinned(URL, &good())),
    ]);
    bed.mirror(&format!("http://{address}"));
    let started = Instant::now();
    let text = told(&bed.fetch(&["tool", "two"]).unwrap_err());
    assert!(started.elapsed() < SOON);
    let expected = format!("two 1.0.0: archive: {address} cannot be reached");
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn proxies_never_see_loopback() {
    // Tests are threads of one process: a proxy cannot be set for one of them, but for a child.
    const CHILD: &str = "TEST_BEHIND_A_PROXY";
    if std::env::var_os(CHILD).is_some() {
        let server = Server::start([(PATH, Answer::Body(good()))]);
        bed(&server, &good()).fetch(&["tool"]).unwrap();
        return;
    }
    let proxy = Server::start([]);
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "dep::tests::archives::proxies_never_see_loopback",
        ])
        .env(CHILD, "1");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, proxy.url());
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(proxy.asked(), [""; 0]);
}
