//! What every operation needs: where things are, and the variables.

use std::process::Command;

use crate::base::ui::Ui;
use crate::checkout::env;
use crate::checkout::hints;
use crate::checkout::paths::{INSTANCE_VARIABLE, Paths, kept_instance};
use crate::checkout::recorded::Recorded;
use crate::plan::env::Env;
use crate::plan::stack::{PROFILE_VARIABLE, Process};

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
    /// The context of the checkout that is worked on, and of the instance that is named on the
    /// command line, else by a variable, else of the default one.
    pub fn load(instance: Option<&str>) -> anyhow::Result<Self> {
        let paths = Paths::discover()?;
        let env = Env::load(&paths.dotenv())?;
        Self::of(&paths, env, instance)
    }

    /// The same with the deployment `profile`, if one is named on the command line.
    pub fn load_for(instance: Option<&str>, profile: Option<&str>) -> anyhow::Result<Self> {
        let mut ctx = Self::load(instance)?;
        if let Some(profile) = profile {
            ctx.env.set(PROFILE_VARIABLE, profile);
        }
        Ok(ctx)
    }

    /// The same for a command that must work whatever `.env` holds: stopping a stack needs none
    /// of it but the name of the instance.
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
            // Better the usual instance than none.
            let instance = ctx.paths.instance();
            ctx.ui.line(format!(
                "cannot read `.env`: {error}; working on the instance `{instance}`"
            ));
        }
        Ok(ctx)
    }

    /// The same without a word, for a shell that completes: with what the process was handed.
    pub fn quietly(instance: Option<&str>) -> anyhow::Result<Self> {
        Self::of(&Paths::discover()?, Env::of_process(), instance)
    }

    /// The same instance with all that `.env` holds.
    pub fn with_dotenv(&self) -> anyhow::Result<Self> {
        let env = Env::load(&self.paths.dotenv())?;
        Self::of(&self.paths, env, Some(self.paths.instance()))
    }

    fn of(checkout: &Paths, mut env: Env, instance: Option<&str>) -> anyhow::Result<Self> {
        let named = instance.or(env.get(INSTANCE_VARIABLE)).map(str::to_owned);
        let name = named.or_else(kept_instance).unwrap_or_default();
        let paths = checkout.of_instance(&name)?;
        hints::note(&paths);
        // What is named on the command line is told to manifests and records as by the variable.
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

    /// The context that the running stack was made in, whatever the files and our own environment
    /// say by now.
    pub fn recorded(paths: Paths) -> anyhow::Result<Self> {
        hints::note(&paths);
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
}
