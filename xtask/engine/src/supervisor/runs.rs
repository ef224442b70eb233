//! Which process id is shown: a service's own program runs below a runner, and the supervisor knows
//! only the runner.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use kit::process::Process;
use kit::runner::record::Record;

use super::state::State;
use crate::plan::stack::PROBE;

/// The notes of runners, and what was read from them.
#[derive(Debug)]
pub struct Runs {
    directory: PathBuf,
    /// The program of each runner seen so far; it does not change while both are alive.
    known: Mutex<BTreeMap<String, Record>>,
}

impl Runs {
    /// Reads the notes of runners in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            known: Mutex::default(),
        }
    }

    /// Replaces the runner by its program, if `state` is of a runner.
    pub fn name_program(&self, state: &mut State) {
        if !state.is_running || state.pid == 0 {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |record: &&Record| record.runner == state.pid && record.program.is_some();
        let record = known.get(&state.name).filter(is_it).copied();
        let record = record.or_else(|| Record::read(&self.directory.join(&state.name)));
        if let Some(record) = record.filter(|record| is_it(&record)) {
            known.insert(state.name.clone(), record);
            state.runner = Some(state.pid);
            state.pid = record.program.unwrap_or(state.pid);
        }
    }

    /// Returns the program of a process that has a runner, while it is running.
    pub(super) fn program(&self, name: &str) -> Option<Process> {
        Record::read(&self.directory.join(name))?.living_program()
    }

    /// Whether `state` still shows a runner that has not written its note yet.
    pub fn is_unnamed(&self, state: &State) -> bool {
        let shown = || Process::read(state.pid).is_some_and(|process| process.program == PROBE);
        state.is_running && state.runner.is_none() && shown()
    }
}
