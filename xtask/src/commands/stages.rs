//! `cargo xtask ci`.

use std::process::ExitCode;

use engine::base::interrupt::Interrupt;
use engine::base::ui::Ui;
use engine::checkout::paths::Paths;
use engine::plan::env::Env;
use xtask::ci::System;
use xtask::stages::{self, STAGES, Surroundings};

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let system = System::of(&Env::of_process());
    let surroundings = Surroundings {
        root: Paths::discover()?.root().to_path_buf(),
        system,
        interrupt: &Interrupt::notice()?,
        owns_children: true,
    };
    // Tests start processes in their own sessions: so they stay our descendants and can be stopped.
    kit::process::become_reaper()?;
    let ui = Ui::new();
    let report = stages::pass(&STAGES, &surroundings, &mut ui.blocks());
    let summary = system.outside(&report.summary, &kit::secret::generate()?);
    let told = ui.data(format!("\n{summary}"));
    let code = report.code?;
    told?;
    Ok(ExitCode::from(code))
}
