//! Tests of whole calls: `ensure` and `update` with scripted servers, tools and workspaces.

mod archives;
mod builds;
mod layouts;
mod reach;
mod reports;
mod shared;
mod sources;
mod updates;

use crate::dep::Kind;
use engine::plan::binaries::{NATS_CLI, on_demand, tools};

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

#[test]
fn no_stack_needs_the_command_line_of_nats() {
    let on_demand = on_demand().unwrap();
    let names: Vec<&str> = on_demand.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, [NATS_CLI]);
}

/// Returns the text of an error for the user.
fn told(error: &anyhow::Error) -> String {
    kit::failure::describe(error)
}

/// Returns the exit code of an error.
fn exit(error: &anyhow::Error) -> kit::Exit {
    kit::failure::exit_of(error)
}
