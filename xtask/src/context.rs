//! What every operation needs: where things are, the variables, whom to talk to.

use std::process::Command;

use crate::env::Env;
use crate::paths::Paths;
use crate::recorded::Recorded;
use crate::stack::{PROFILE_VARIABLE, Process};
use crate::supervisor::client::Client;
use crate::supervisor::socket;
use crate::ui::Ui;

/// Passed first to every operation.
#[derive(Debug)]
pub struct Ctx {
    /// Where everything lies.
    pub paths: Paths,
    /// The environment over `.env`.
    pub env: Env,
    /// Talk and data.
    pub ui: Ui,
}

impl Ctx {
    /// The context of the checkout that is worked on.
    pub fn load() -> anyhow::Result<Self> {
        let paths = Paths::discover()?;
        let env = Env::load(&paths.dotenv())?;
        Ok(Self {
            paths,
            env,
            ui: Ui::new(),
        })
    }

    /// The same with the deployment `profile`, if one is named on the command line.
    pub fn load_for(profile: Option<&str>) -> anyhow::Result<Self> {
        let mut ctx = Self::load()?;
        if let Some(profile) = profile {
            ctx.env.set(PROFILE_VARIABLE, profile);
        }
        Ok(ctx)
    }

    /// The same for a command that must work whatever `.env` holds: stopping a stack needs none
    /// of it.
    pub fn without_dotenv() -> anyhow::Result<Self> {
        Ok(Self {
            paths: Paths::discover()?,
            env: Env::of_process(),
            ui: Ui::new(),
        })
    }

    /// The context that the running stack was made in, whatever the files and our own environment
    /// say by now.
    pub fn recorded(paths: Paths) -> anyhow::Result<Self> {
        let env = Recorded::load(&paths)?.env();
        Ok(Self {
            paths,
            env,
            ui: Ui::new(),
        })
    }

    /// A command of a process, run as the supervisor would run it: there, and with that environment
    /// alone. `words` are the program and its arguments, at least the program.
    pub fn command(&self, process: &Process, words: &[String]) -> Command {
        let directory = process.directory(self.paths.root());
        let (program, arguments) = words.split_first().expect("a command has a program");
        let mut command = Command::new(Process::program(&directory, program));
        command
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .envs(self.env.passed_on())
            .envs(process.env.iter().map(|(name, value)| (name, &value.text)));
        command
    }

    /// A client of this instance's supervisor, running or not.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(socket::path(&self.env, &self.paths.state())?)
    }
}
