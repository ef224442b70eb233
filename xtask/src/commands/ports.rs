//! `cargo xtask ports`.

use std::process::ExitCode;

use engine::Ctx;
use engine::operations::ports::{self, PortReport, PortState};

use super::{print_json, print_rows};
use crate::cli::Ports;

pub(crate) fn run(instance: Option<&str>, args: &Ports) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    let report = ports::ports(&ctx)?;
    if args.json {
        return print_json(&ctx, &report);
    }
    let heading = ["PROCESS", "NAME", "PORT", "PROTOCOL", "LISTENS", "DECLARED"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(report.ports.iter().map(row));
    print_rows(&ctx, &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn row(port: &PortReport) -> Vec<String> {
    vec![
        port.process.clone(),
        port.name.clone(),
        port.port.to_string(),
        port.protocol.clone(),
        listens(port),
        port.declared.clone(),
    ]
}

fn listens(port: &PortReport) -> String {
    match (port.state, &port.holder) {
        (PortState::Free, _) => "-".to_owned(),
        (PortState::Ours, _) => "this stack".to_owned(),
        (PortState::Taken, Some(holder)) => match (&holder.program, holder.pid) {
            (Some(program), Some(pid)) => format!("{program} (pid {pid})"),
            _ => "unseen program".to_owned(),
        },
        (PortState::Taken, None) => "unseen program".to_owned(),
    }
}
