//! Requests to sources: whether they answer, and their time.

use crate::dep::lock::{Artefacts, Lock};
use crate::dep::reach::{Reached, reach_in};
use crate::dep::testing::{Answer, Bed, PLATFORM, Server, artefact};

/// 2000-01-01 in seconds since 1970.
const Y2K: i64 = 946_684_800;

fn pin(bed: &Bed, paths: &[&'static str]) -> Lock {
    let archive = |path: &&'static str| Artefacts {
        archive: Some(artefact(
            &format!("https://github.com/{path}"),
            None,
            Some("x"),
        )),
        wheel: None,
    };
    let mut lock = Lock::empty();
    for path in paths {
        bed.pin([(path, archive(path))]);
        lock.programs
            .append(&mut Lock::load(&bed.paths.dep_lock()).unwrap().programs);
    }
    lock
}

fn reach(bed: &Bed, lock: &Lock) -> Vec<Reached> {
    bed.with_context(|context| reach_in(&context.net, lock, PLATFORM))
}

#[test]
fn every_archive_is_asked_for_and_nothing_is_followed() {
    let mut bed = Bed::new();
    let date = "date: Sat, 01 Jan 2000 00:00:00 GMT\r\n";
    let cached = "date: Sat, 01 Jan 2000 00:00:00 GMT\r\nage: 60\r\n";
    let server = Server::start([
        ("/a", Answer::Headers(date)),
        ("/b", Answer::Headers(cached)),
        ("/c", Answer::Headers("date: tomorrow\r\n")),
        ("/d", Answer::Redirect("http://127.0.0.1:1/".into())),
        ("/e", Answer::Status(404)),
        ("/f", Answer::Silent),
    ]);
    bed.mirror(&server.url());
    let reached = reach(&bed, &pin(&bed, &["a", "b", "c", "d", "e", "f"]));
    let ahead: Vec<bool> = reached.iter().map(|r| r.ahead_seconds.is_some()).collect();
    assert_eq!(
        ahead,
        [true, false, false, false, false, false],
        "{reached:?}"
    );
    let now = jiff::Timestamp::now().as_second();
    let off = now - Y2K - reached[0].ahead_seconds.unwrap();
    assert!((0..60).contains(&off), "{reached:?}");
    let problems: Vec<Option<&str>> = reached.iter().map(|r| r.problem.as_deref()).collect();
    assert_eq!(problems[..4], [None; 4]);
    let told = |index: usize| problems[index].unwrap_or_default();
    assert!(
        told(4).ends_with("/e answers 404 Not Found"),
        "{problems:?}"
    );
    assert!(told(5).contains("/f is silent for"), "{problems:?}");
}

#[test]
fn a_host_that_is_not_there_is_named() {
    let mut bed = Bed::new();
    bed.mirror("http://127.0.0.1:1");
    let reached = reach(&bed, &pin(&bed, &["a"]));
    assert_eq!(
        reached[0].problem.as_deref(),
        Some("127.0.0.1:1 cannot be reached")
    );
}
