//! The context of every operation: its paths and variables.

use std::process::Command;

use crate::base::ui::Ui;
use crate::checkout::env;
use crate::checkout::hints;
use crate::checkout::paths::{INSTANCE_VARIABLE, Paths, kept_instance};
use crate::checkout::recorded::Recorded;
use crate::plan::env::Env;
use crate::plan::stack::{PROFILE_VARIABLE, Process};

/// Passed first to every operation.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// The paths of the instance.
    pub paths: Paths,
    /// The process environment, and below it `.env`.
    pub env: Env,
    /// Messages and data for the user.
    pub ui: Ui,
}

impl Ctx {
    /// Returns the context of the current checkout, and of the instance that the command line
    /// names, else a variable, else of the default one.
    pub fn load(instance: Option<&str>) -> anyhow::Result<Self> {
        let paths = Paths::discover()?;
        let env = Env::load(&paths.dotenv())?;
        Self::of(&paths, env, instance)
    }

    /// Returns [`Ctx::load`] with the deployment `profile`, if the command line names one.
    pub fn load_for(instance: Option<&str>, profile: Option<&str>) -> anyhow::Result<Self> {
        let mut ctx = Self::load(instance)?;
        if let Some(profile) = profile {
            ctx.env.set(PROFILE_VARIABLE, profile);
        }
        Ok(ctx)
    }

    /// Returns the context for a command that must work with any `.env`: stopping a stack needs
    /// only the name of the instance from it.
    pub fn without_dotenv(instance: Option<&str>) -> anyhow::Result<Self> {
        let paths = Paths::discover()?;
        let mut env = Env::of_process();
        let is_named = instance.is_some() || env.get(INSTANCE_VARIABLE).is_some();
        let name = if is_named {
            Ok(None)
        } else {
            env::in_dotenv(&paths.dotenv(), INSTANCE_VARIABLE)
        };
        let unread = name.as_ref().err().map(ToString::to_string);
        if let Ok(Some(name)) = name {
            env.set(INSTANCE_VARIABLE, &name);
        }
        let ctx = Self::of(&paths, env, instance)?;
        if let Some(error) = unread {
            // The usual instance is better than a refusal.
            let instance = ctx.paths.instance();
            ctx.ui.line(format!(
                "cannot read `.env`: {error}; working on the instance `{instance}`"
            ));
        }
        Ok(ctx)
    }

    /// Returns the context from the process environment alone, without messages, for completions.
    pub fn quietly(instance: Option<&str>) -> anyhow::Result<Self> {
        Self::of(&Paths::discover()?, Env::of_process(), instance)
    }

    /// Returns the context of the same instance with all variables of `.env`.
    pub fn with_dotenv(&self) -> anyhow::Result<Self> {
        let env = Env::load(&self.paths.dotenv())?;
        Self::of(&self.paths, env, Some(self.paths.instance()))
    }

    fn of(checkout: &Paths, mut env: Env, instance: Option<&str>) -> anyhow::Result<Self> {
        let named = instance.or(env.get(INSTANCE_VARIABLE)).map(str::to_owned);
        let name = named.or_else(kept_instance).unwrap_or_default();
        let paths = checkout.of_instance(&name)?;
        hints::note(&paths);
        // Manifests and records receive the instance of the command line through the variable.
        match (paths.is_default(), env.non_empty(INSTANCE_VARIABLE)) {
            (true, None) => {}
            (true, Some(_)) => env.set(INSTANCE_VARIABLE, ""),
            (false, _) => env.set(INSTANCE_VARIABLE, paths.instance()),
        }
        Ok(Self {
            paths,
            env,
            ui: Ui::new(),
        })
    }

    /// Returns the context in which the running stack was made, regardless of the present files and
    /// environment.
    pub fn recorded(paths: Paths) -> anyhow::Result<Self> {
        hints::note(&paths);
        let env = Recorded::load(&paths)?.env();
        Ok(Self {
            paths,
            env,
            ui: Ui::new(),
        })
    }

    /// Returns a command that runs as the supervisor would run it: in the process's directory, with
    /// its environment only. `words` are the program, which must be there, and its arguments.
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
}
