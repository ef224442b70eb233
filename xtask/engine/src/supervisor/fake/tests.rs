//! Reports and ends of a stack with a supervisor that misbehaves; and that the fake pushes states
//! as the real one does.

use std::time::Duration;

use kit::http::Endpoint;
use kit::http::websocket::WebSocket;

use super::bed::Bed;
use super::{Fault, Script};
use crate::operations::status::{self, Status};
use crate::supervisor::alive;
use crate::supervisor::state::{PUSHES, Push};
use crate::supervisor::stop::{self, Stopped};
use crate::supervisor::stops;

const LIMIT: Duration = Duration::from_secs(5);

fn status(bed: &Bed) -> Status {
    status::status(&bed.ctx).unwrap()
}

fn of(status: &Status, name: &str) -> (String, bool, Option<i32>) {
    let process = &status.services[name].processes[name];
    (process.status.clone(), process.ready, process.pid)
}

#[test]
fn a_status_is_what_the_supervisor_says() {
    let bed = Bed::with(&[("a", &[]), ("b", &["a"])]);
    assert!(status::running(&bed.ctx).unwrap().is_none());
    let before = status(&bed);
    assert!(!before.running && !before.supervised && !before.healthy);
    assert_eq!(of(&before, "a"), ("Stopped".to_owned(), false, None));

    bed.boot();
    let now = status::running(&bed.ctx).unwrap().unwrap();
    assert!(now.running && now.supervised && now.healthy);
    assert_eq!(
        of(&now, "a"),
        ("Running".to_owned(), true, Some(bed.fake.pid("a").0))
    );

    bed.fake.end("b", 3);
    let now = status(&bed);
    assert!(!now.healthy);
    assert_eq!(of(&now, "b"), ("Completed".to_owned(), false, None));
    assert_eq!(now.services["b"].processes["b"].exit_code, 3);
    stops::save(&bed.ctx.paths, &["b".to_owned()].into()).unwrap();
    assert_eq!(of(&status(&bed), "b"), ("Stopped".to_owned(), false, None));

    bed.fake.lie("a", "Watching", 1);
    let now = status(&bed);
    assert_eq!(
        of(&now, "a").0,
        "Watching",
        "a word that is not known is shown"
    );
    assert!(!now.healthy);
}

#[test]
fn a_status_without_a_supervisor() {
    let bed = Bed::running(&[("a", &[])]);
    bed.fake.fault("GET /processes", Fault::Garbage);
    let now = status(&bed);
    assert!(now.running && !now.supervised && !now.healthy);
    bed.fake.fall_silent();
    let now = status(&bed);
    assert!(now.running && !now.supervised);
    std::fs::remove_file(bed.ctx.paths.applied()).unwrap();
    let now = status::running(&bed.ctx).unwrap().unwrap();
    assert!(
        now.services.is_empty(),
        "what is not remembered was not healthy yet"
    );
}

#[test]
fn an_end_in_order_and_what_is_left_then() {
    let bed = Bed::spawning(&[("a", &[])]);
    bed.boot();
    let (paths, client) = (&bed.ctx.paths, bed.ctx.client().unwrap());
    let stop = || stop::stop(&bed.ctx, &client, LIMIT).unwrap();
    assert_eq!(stop(), Stopped::Gracefully);
    assert!(!alive::is_held(&paths.alive_lock()).unwrap());
    assert!(!paths.compose_file().exists());
    assert_eq!(stop(), Stopped::NothingRan);
    assert_eq!(bed.fake.orders(), ["down"]);

    bed.up().unwrap();
    bed.fake.fault("POST /project/stop", Fault::CutAfter);
    assert_eq!(
        stop(),
        Stopped::Gracefully,
        "it was gone before it had answered"
    );
    bed.up().unwrap();
    bed.fake.fault("POST /project/stop", Fault::Crash);
    assert_eq!(stop(), Stopped::Gracefully, "however it ends");
    bed.up().unwrap();
    bed.fake.crash();
    assert!(matches!(stop(), Stopped::NothingRan | Stopped::Gracefully));
}

#[test]
fn states_are_pushed_until_the_socket_goes_away() {
    let bed = Bed::running(&[("a", &[])]);
    let endpoint = Endpoint::Unix(bed.ctx.client().unwrap().socket().to_owned());
    let slow = Script {
        ends_after: Duration::from_millis(10),
        ..Script::default()
    };
    bed.fake.script("a", slow);
    let runtime = kit::runtime::current_thread().unwrap();
    let pushed = runtime.block_on(async {
        let mut seen = Vec::new();
        let mut socket = WebSocket::open(&endpoint, PUSHES, LIMIT).await.unwrap();
        bed.fake.end("a", 3);
        while let Some(message) = socket.next().await.unwrap() {
            let push: Push = serde_json::from_slice(&message).unwrap();
            let status = push.state.status.to_string();
            if status == "Completed" {
                bed.fake.fault("PUSH", Fault::Cut);
            }
            seen.push(status);
        }
        seen
    });
    assert_eq!(pushed.last().unwrap(), "Completed");
}
