//! The main loop of the controller: connect, read, wait for a hint, read again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::topology::record::{Client, RecordError};
use kit::Lifecycle;
use kit::claim::Claim;
use kit::output::Output;
use tokio::time::{sleep, timeout};

use crate::observe::{Observer, Outbox};
use crate::ready::Ready;
use crate::settings::Settings;
use crate::stack::{Live, Stack};
use crate::sync::{Again, Events, Sync, is_of_the_data};
use crate::watch::Watch;
use crate::work::{Outcome, Work};

/// How often the records are read without a hint. A subscription can go mute without a sign: for a
/// revoked token or a frozen server.
const RESYNC: Duration = Duration::from_secs(20);
/// The interval while another command changes the stack.
const RESYNC_SOON: Duration = Duration::from_millis(250);
/// The interval while PocketBase refuses a read or a write.
const RESYNC_REFUSED: Duration = Duration::from_secs(2);
/// The pause before the first reconnection, and the longest one.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long an interrupted change may take to roll back: less than the time after which the
/// supervisor kills us.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(8);

/// Runs the controller until a stop is requested. Returns the exit code.
pub async fn run(lifecycle: Lifecycle, settings: Settings) -> anyhow::Result<u8> {
    let stack = Arc::new(Live::new(settings.paths.clone()));
    run_on(lifecycle, settings, stack).await
}

async fn run_on(
    lifecycle: Lifecycle,
    settings: Settings,
    stack: Arc<dyn Stack>,
) -> anyhow::Result<u8> {
    let Some(_claim) = Claim::take(&lifecycle, &settings.state_dir).await? else {
        return Ok(0);
    };
    let secret = settings.paths.controller_secret();
    let output = Output::start(lifecycle.is_supervised());
    let outbox = Arc::new(Outbox::default());
    let observer = Observer::start(&settings.paths, outbox.clone(), &output);
    let mut controller = Controller {
        ready: Ready::new(&settings.state_dir),
        output,
        sync: Sync {
            client: Client::new(settings.pocketbase, secret)
                .with_data(settings.paths.data().join("pocketbase")),
            stack,
            work: None,
            outcome: None,
            events: Events {
                paths: settings.paths,
                outbox,
            },
            refusals: BTreeMap::new(),
        },
        lifecycle,
        complaint: String::new(),
        is_known: false,
    };
    let result = controller.live().await;
    controller.ready.take_back();
    controller.give_up().await;
    observer.finish().await;
    controller.output.finish().await;
    result.map(|()| 0)
}

struct Controller {
    lifecycle: Lifecycle,
    output: Output,
    ready: Ready,
    sync: Sync,
    /// The last complaint: printed once, not once a second.
    complaint: String,
    /// Whether `READY` was printed.
    is_known: bool,
}

/// Why a wait ended.
enum Hint {
    Look,
    Stop,
    /// The connection has ended.
    Ended,
}

impl Controller {
    async fn live(&mut self) -> anyhow::Result<()> {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.connection(&mut pause).await {
                Ok(Hint::Stop) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_by_rules_of_the_user(&error) => {
                    // Neither PocketBase nor we are at fault, and more requests would only use up
                    // the rate limit of the user.
                    self.ready.give().await?;
                    self.complain(&error);
                    pause = RESYNC;
                }
                Err(error) => {
                    self.ready.take_back();
                    self.complain(&error);
                }
            }
            if let Hint::Stop = self.wait(None, pause).await {
                return Ok(());
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Handles one connection, from its start to its end.
    async fn connection(&mut self, pause: &mut Duration) -> anyhow::Result<Hint> {
        let lifecycle = self.lifecycle.clone();
        let open = Watch::open(&mut self.sync.client);
        let mut watch = tokio::select! {
            biased;
            () = lifecycle.cancelled() => return Ok(Hint::Stop),
            watch = open => watch?,
        };
        loop {
            let again = tokio::select! {
                biased;
                () = lifecycle.cancelled() => return Ok(Hint::Stop),
                again = self.sync.run(&self.output) => again,
            };
            let wait = match again {
                Ok(Again::Sometime) => RESYNC,
                Ok(Again::Soon) => RESYNC_SOON,
                Ok(Again::AfterPause) => RESYNC_REFUSED,
                // We work; the data is at fault. The user who repairs it needs the stack.
                Err(ref error) if is_of_the_data(error) => RESYNC_REFUSED,
                Err(error) => return Err(error),
            };
            *pause = PAUSE_FIRST;
            self.in_sync().await?;
            match again {
                Err(error) => self.complain(&error),
                Ok(_) => self.complaint.clear(),
            }
            match self.wait(Some(&mut watch), wait).await {
                Hint::Look => {}
                end => return Ok(end),
            }
        }
    }

    /// Waits for a hint, at most `limit`.
    async fn wait(&mut self, watch: Option<&mut Watch>, limit: Duration) -> Hint {
        let changed = async {
            match watch {
                Some(watch) => watch.changed().await && watch.quiet().await,
                None => std::future::pending().await,
            }
        };
        let stack = self.sync.stack.clone();
        tokio::select! {
            biased;
            () = self.lifecycle.cancelled() => Hint::Stop,
            outcome = done(self.sync.work.as_mut(), &*stack) => {
                self.sync.work = None;
                self.sync.outcome = Some(outcome);
                Hint::Look
            }
            () = self.lifecycle.reload_requested() => Hint::Look,
            goes_on = changed => if goes_on { Hint::Look } else { Hint::Ended },
            () = sleep(limit) => Hint::Look,
        }
    }

    async fn in_sync(&mut self) -> anyhow::Result<()> {
        if self.ready.give().await? {
            let address = format!("http://{}", self.sync.client.endpoint());
            if self.is_known {
                self.output.note(&format!("in sync with {address} again"));
            } else {
                self.output.ready("controller", &address);
            }
            self.is_known = true;
        }
        Ok(())
    }

    fn complain(&mut self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        if text != self.complaint {
            self.output.note(&format!("not in sync: {text}"));
            self.complaint = text;
        }
    }

    /// Lets a running change roll back. Its record says `applying`, so the next controller takes it
    /// up.
    async fn give_up(&mut self) {
        let Some(work) = &mut self.sync.work else {
            return;
        };
        work.interrupt();
        let stack = self.sync.stack.clone();
        if timeout(GIVE_UP_LIMIT, work.done(&*stack)).await.is_err() {
            self.output.note("a change was not given up in time");
        }
    }
}

fn is_by_rules_of_the_user(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| {
        let cause = cause.downcast_ref::<RecordError>();
        cause.is_some_and(RecordError::is_by_rules_of_the_user)
    })
}

async fn done(work: Option<&mut Work>, stack: &dyn Stack) -> Outcome {
    match work {
        Some(work) => work.done(stack).await,
        None => std::future::pending().await,
    }
}
