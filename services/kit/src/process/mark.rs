//! The mark that every descendant inherits in the environment from the supervisor.

use crate::secret;

use super::Process;

/// The variable that holds the mark.
pub const VARIABLE: &str = "CORE_STACK_MARK";

/// Characters of the random part: 60 bits.
const RANDOM_CHARS: usize = 12;

/// Identifies the instance of a process, the start of the stack and, below a runner, the process of
/// the stack: `INSTANCE.START.PROCESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The id of the instance.
    pub instance: String,
    /// The id of the start: `TICKS-RANDOM`.
    pub start: String,
    /// The process of the stack, if a runner started it.
    pub process: Option<String>,
}

impl Mark {
    /// Creates the mark of a new start. No process with it can be older than we are.
    pub fn of_start(instance: &str) -> anyhow::Result<Self> {
        let random = secret::generate()?;
        let random: String = random.chars().take(RANDOM_CHARS).collect();
        Ok(Self {
            instance: instance.to_owned(),
            start: format!("{}-{random}", Process::own().map_or(0, |own| own.started)),
            process: None,
        })
    }

    /// Returns the mark of this process, if it has one.
    pub fn own() -> Option<Self> {
        Self::parse(&std::env::var(VARIABLE).ok()?)
    }

    /// Parses a mark.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mark = Self {
            instance: parts.next()?.to_owned(),
            start: parts.next()?.to_owned(),
            process: parts.next().map(str::to_owned),
        };
        (parts.next().is_none() && mark.started().is_some()).then_some(mark)
    }

    /// Returns the mark of the same start for the child processes of the runner of `process`.
    #[must_use]
    pub fn of_process(&self, process: &str) -> Self {
        Self {
            process: Some(process.to_owned()),
            ..self.clone()
        }
    }

    /// Whether both belong to the same start of the same instance.
    pub fn is_same_start(&self, other: &Self) -> bool {
        self.instance == other.instance && self.start == other.start
    }

    /// Whether `process` can have this mark from us: a process that is older than the start cannot.
    pub fn may_be_of(&self, process: &Process) -> bool {
        self.started().is_some_and(|start| process.started >= start)
    }

    fn started(&self) -> Option<u64> {
        self.start.split('-').next()?.parse().ok()
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.instance, self.start)?;
        match &self.process {
            Some(process) => write!(f, ".{process}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back() {
        let mark = Mark::of_start("0123abcd").unwrap();
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark.clone()));
        let process = mark.of_process("web");
        assert_eq!(Mark::parse(&process.to_string()), Some(process.clone()));
        assert!(process.is_same_start(&mark));
        assert!(!Mark::of_start("0123abcd").unwrap().is_same_start(&mark));
        for bad in ["", "x", "x.y", "x.1-a.b.c", "x.-1"] {
            assert_eq!(Mark::parse(bad), None, "{bad}");
        }
    }
}
