//! Tests of whole calls: `ensure` and `update` against servers, tools and workspaces of their own.

mod archives;
mod builds;
mod layouts;
mod reach;
mod reports;
mod sources;
mod updates;

use crate::dep::Kind;
use engine::plan::binaries::tools;

#[test]
fn tools_are_process_compose_and_the_probe() {
    let tools = tools().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["process-compose", "probe"]);
    let kind = Kind::Fetch {
        version: "1.120.0".into(),
    };
    assert_eq!(tools[0].kind, kind);
}

/// What the user is told.
fn told(error: &anyhow::Error) -> String {
    kit::failure::describe(error)
}

/// The exit code's class.
fn exit(error: &anyhow::Error) -> kit::Exit {
    kit::failure::exit_of(error)
}
