//! What every operation needs: where things are, the variables, whom to talk to.

use crate::env::Env;
use crate::paths::Paths;
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

    /// The same for a command that must work whatever `.env` holds: stopping a stack needs none
    /// of it.
    pub fn without_dotenv() -> anyhow::Result<Self> {
        Ok(Self {
            paths: Paths::discover()?,
            env: Env::of_process(),
            ui: Ui::new(),
        })
    }

    /// A client of this instance's supervisor, running or not.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(socket::path(&self.env, &self.paths)?)
    }
}
