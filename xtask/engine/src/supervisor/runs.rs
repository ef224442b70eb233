//! Whose process id is shown: a service's own program stands below a runner, which is all that the
//! supervisor knows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use kit::process::Process;
use kit::runner::record::Record;

use super::state::State;
use crate::plan::stack::PROBE;

/// What runners note, and what was read of it.
#[derive(Debug)]
pub struct Runs {
    directory: PathBuf,
    /// The program of each runner that was met; nothing changes about that while both live.
    known: Mutex<BTreeMap<String, Record>>,
}

impl Runs {
    /// What runners note in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            known: Mutex::default(),
        }
    }

    /// Puts the program in the place of its runner, if `state` is of one.
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

    /// The program of a process that has a runner, while it runs.
    pub(super) fn program(&self, name: &str) -> Option<Process> {
        Record::read(&self.directory.join(name))?.living_program()
    }

    /// Whether `state` still shows a runner, which will note its program in a moment.
    pub fn is_unnamed(&self, state: &State) -> bool {
        let shown = || Process::read(state.pid).is_some_and(|process| process.program == PROBE);
        state.is_running && state.runner.is_none() && shown()
    }
}
