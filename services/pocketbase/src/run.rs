//! Runs the server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use kit::Lifecycle;
use kit::claim::{Claim, Port};
use kit::files::{PRIVATE_FILE_MODE, create_private_dir, write_for_this_run};
use kit::http::{self, Endpoint, HttpError};
use kit::server::{self, Launch, ServerHandle, Upstream, reachable};
use kit::settings::Environment;
use serde::Deserialize;

use crate::compose;
use crate::settings::Settings;
use crate::superuser;

/// How long the server may take to become ready: all migrations, the user's too, run first.
const READY_LIMIT: Duration = Duration::from_mins(5);
/// The file in the state directory with the secret for the controller's token.
const CONTROLLER_FILE: &str = "controller.json";
/// The file in the state directory by which the hook knows a password that it has compared before.
/// Not in the data directory: with the database it makes guesses cheaper, so no copy of the data
/// may have both.
const VERIFIED_FILE: &str = "verified.json";
/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Runs the server until a stop is requested or it exits by itself. Returns the exit code.
pub async fn run(lifecycle: Lifecycle, settings: Settings) -> anyhow::Result<u8> {
    let Some(claim) = Claim::take(&lifecycle, &settings.data_dir).await? else {
        return Ok(0);
    };
    create_private_dir(&settings.state_dir)?;
    compose::write(&compose::plan(&settings.user_dir)?, &settings.state_dir)?;
    let port = Port {
        variable: "POCKETBASE_PORT",
        address: (settings.host, settings.port).into(),
    };
    if !claim.check_ports(&lifecycle, &[port]).await? {
        return Ok(0);
    }
    let address = reachable(settings.host, settings.port);
    let mut pocketbase = PocketBase {
        endpoint: Endpoint::tcp(address.ip().to_string(), address.port()),
        instance: kit::secret::generate()?,
        made_up: settings
            .superuser
            .is_none()
            .then(|| superuser::file(&settings.data_dir)),
        retired: Retired::No,
    };
    let secrets = Secrets {
        instance: pocketbase.instance.clone(),
        controller: kit::secret::generate()?,
    };
    write_controller_file(&settings, &secrets)?;
    let launch = launch(&settings, &secrets)?;
    server::run(&lifecycle, &claim, &launch, &mut pocketbase).await
}

/// The secrets of this start of the server.
struct Secrets {
    /// The server repeats it in its answers.
    instance: String,
    /// Never sent: a caller that knows it gets a token of the controller's account.
    controller: String,
}

/// Writes the secret of this start to where the controller and the command line find it.
fn write_controller_file(settings: &Settings, secrets: &Secrets) -> anyhow::Result<()> {
    let text = serde_json::json!({"secret": secrets.controller}).to_string();
    let file = settings.state_dir.join(CONTROLLER_FILE);
    write_for_this_run(&file, text.as_bytes(), PRIVATE_FILE_MODE)
}

/// Returns the command line, with every directory and switch: the defaults differ between builds of
/// PocketBase, and one of them depends on the path of the program.
fn launch(settings: &Settings, secrets: &Secrets) -> anyhow::Result<Launch> {
    let state = &settings.state_dir;
    let flag = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
    let args = vec![
        "serve".to_owned(),
        format!(
            "--http={}",
            std::net::SocketAddr::new(settings.host, settings.port)
        ),
        // A directory below ours: a restored backup replaces its whole content.
        flag("dir", settings.data_dir.join("pb_data")),
        flag("hooksDir", state.join("pb_hooks")),
        flag("migrationsDir", state.join("pb_migrations")),
        flag("publicDir", settings.user_dir.join("pb_public")),
        "--hooksWatch=false".to_owned(),
        "--hooksPool=1".to_owned(),
        "--automigrate=false".to_owned(),
        "--dev=false".to_owned(),
    ];
    Ok(Launch {
        name: "pocketbase",
        program: settings.server.clone(),
        args,
        env: environment(settings, secrets)?,
        working_dir: None,
        stdin: None,
        ready_limit: READY_LIMIT,
        respawns_max: 0,
        reload_report: state.join("reload.json"),
    })
}

/// Returns the variables of the hook. Never arguments: every local user can read those.
fn environment(
    settings: &Settings,
    secrets: &Secrets,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let (superuser, enforce) = match &settings.superuser {
        Some(superuser) => (superuser.clone(), "1"),
        None => (superuser::load_or_create(&settings.data_dir)?, "0"),
    };
    let made_up = superuser::load(&settings.data_dir).filter(|_| settings.superuser.is_some());
    let (made_up_email, made_up_password) = made_up.map(|it| (it.email, it.password)).unzip();
    Ok(vec![
        (
            "CORE_POCKETBASE_MADE_UP_EMAIL",
            made_up_email.unwrap_or_default(),
        ),
        (
            "CORE_POCKETBASE_MADE_UP_PASSWORD",
            made_up_password.unwrap_or_default(),
        ),
        ("CORE_POCKETBASE_HOST", settings.host.to_string()),
        ("CORE_POCKETBASE_ADMIN_EMAIL", superuser.email),
        ("CORE_POCKETBASE_ADMIN_PASSWORD", superuser.password),
        ("CORE_POCKETBASE_ADMIN_ENFORCE", enforce.to_owned()),
        (
            "CORE_POCKETBASE_VERIFIED_FILE",
            settings.state_dir.join(VERIFIED_FILE).display().to_string(),
        ),
        ("CORE_POCKETBASE_INSTANCE", secrets.instance.clone()),
        (
            "CORE_POCKETBASE_CONTROLLER_SECRET",
            secrets.controller.clone(),
        ),
    ])
}

struct PocketBase {
    endpoint: Endpoint,
    /// Known to our own child only, so that no other server is taken for it.
    instance: String,
    /// The file of the superuser whose password was generated, unless the database turns out to
    /// have others instead.
    made_up: Option<PathBuf>,
    /// The state of the generated superuser after another one was configured.
    retired: Retired,
}

/// The state of the generated superuser, as reported by the hook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Retired {
    /// It does not exist, or no other one was configured.
    #[default]
    #[serde(rename = "")]
    No,
    /// It was deleted.
    Ended,
    /// Its password was changed, so a user owns it.
    Kept,
}

/// The answer of `/core/ready`.
#[derive(Deserialize)]
struct Ready {
    /// Whether there is a superuser.
    superuser: bool,
    /// Whether it is the one with our e-mail address.
    ours: bool,
    /// The state of the generated one.
    #[serde(default)]
    made_up: Retired,
    /// Our token.
    instance: String,
}

impl Upstream for PocketBase {
    fn address(&self) -> String {
        format!("http://{}", self.endpoint)
    }

    /// Returns the file of the generated password, never the password.
    fn note(&self) -> Option<String> {
        match self.retired {
            Retired::No => {}
            Retired::Ended => {
                return Some(
                    "superuser: the generated account was removed, as another one is configured"
                        .to_owned(),
                );
            }
            Retired::Kept => {
                return Some(
                    "warning: the generated superuser still exists beside the configured one, as \
                     its password was changed by hand; remove it in the admin interface if \
                     nobody uses it"
                        .to_owned(),
                );
            }
        }
        let file = self.made_up.as_ref()?;
        let place = file.display();
        Some(format!(
            "superuser: e-mail and first password are in `{place}`"
        ))
    }

    async fn is_ready(&mut self) -> anyhow::Result<bool> {
        let response = match http::get(&self.endpoint, "/core/ready", ANSWER_LIMIT).await {
            Ok(response) => response,
            Err(HttpError::Refused(_) | HttpError::Broken { .. } | HttpError::Silent(_)) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let Ok(ready) = serde_json::from_slice::<Ready>(&response.body) else {
            bail!("another server answers at {}", self.endpoint);
        };
        if ready.instance != self.instance {
            bail!("another PocketBase answers at {}", self.endpoint);
        }
        if !ready.ours {
            self.made_up = None;
        }
        self.retired = ready.made_up;
        Ok(response.status == 200 && ready.superuser)
    }

    async fn reload(
        &mut self,
        _server: &ServerHandle,
        _environment: &Environment,
    ) -> anyhow::Result<String> {
        bail!("PocketBase reads hooks and migrations at its start only: restart it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    #[test]
    fn the_command_line_holds_no_secret() {
        let settings = settings(&[
            ("CORE_POCKETBASE_ADMIN_EMAIL", "a@b.c"),
            ("CORE_POCKETBASE_ADMIN_PASSWORD", "hunter2hunter2"),
        ])
        .unwrap();
        let secrets = Secrets {
            instance: "instance".to_owned(),
            controller: "controller".to_owned(),
        };
        let launch = launch(&settings, &secrets).unwrap();
        assert_eq!(
            launch.args,
            [
                "serve",
                "--http=127.0.0.1:8090",
                "--dir=/data/pocketbase/pb_data",
                "--hooksDir=/state/pocketbase/pb_hooks",
                "--migrationsDir=/state/pocketbase/pb_migrations",
                "--publicDir=/user/pb_public",
                "--hooksWatch=false",
                "--hooksPool=1",
                "--automigrate=false",
                "--dev=false",
            ]
        );
        let env = |name| {
            let found = launch.env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(env("CORE_POCKETBASE_ADMIN_ENFORCE"), Some("1"));
        assert_eq!(
            env("CORE_POCKETBASE_ADMIN_PASSWORD"),
            Some("hunter2hunter2")
        );
        assert_eq!(env("CORE_POCKETBASE_CONTROLLER_SECRET"), Some("controller"));
        assert_eq!(
            env("CORE_POCKETBASE_VERIFIED_FILE"),
            Some("/state/pocketbase/verified.json")
        );
    }

    #[test]
    fn the_secret_of_this_start_is_kept_private() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().to_string_lossy();
        let settings = settings(&[("POCKETBASE_STATE_DIR", &state)]).unwrap();
        for controller in ["first", "second"] {
            let secrets = Secrets {
                instance: String::new(),
                controller: controller.to_owned(),
            };
            write_controller_file(&settings, &secrets).unwrap();
            let file = dir.path().join("controller.json");
            let text = std::fs::read_to_string(&file).unwrap();
            assert_eq!(text, format!("{{\"secret\":\"{controller}\"}}"));
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
