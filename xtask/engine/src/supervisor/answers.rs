//! Whether servers answer: the servers themselves are asked, because the supervisor may still
//! report the health that a process had before it ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kit::files::FileLock;
use kit::http::{self, Endpoint};
use tokio::task::JoinSet;

use crate::plan::stack::{ReadinessCheck, Stack};

/// How long a server may take to answer before it counts as not answering.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks every server that can be asked, in parallel, whether it answers.
pub fn ask(root: &Path, stack: &Stack) -> anyhow::Result<BTreeMap<String, bool>> {
    kit::runtime::current_thread()?.block_on(async {
        let mut questions = JoinSet::new();
        for (name, process) in &stack.processes {
            if let Some(readiness) = process.readiness.as_ref().filter(|_| !process.disabled) {
                let (name, check) = (name.clone(), readiness.check.clone());
                let directory = process.directory(root);
                questions.spawn(async move { (name, one(&directory, &check).await) });
            }
        }
        let answers = questions.join_all().await.into_iter();
        Ok(answers
            .filter_map(|(name, answer)| Some((name, answer?)))
            .collect())
    })
}

async fn one(directory: &Path, check: &ReadinessCheck) -> Option<bool> {
    match check {
        ReadinessCheck::Http { url, status } => {
            let (endpoint, path) = Endpoint::from_url(url)?;
            let answer = http::get(&endpoint, &path, ANSWER_TIMEOUT).await;
            let expected = |code: u16| status.map_or((200..300).contains(&code), |s| s == code);
            Some(answer.is_ok_and(|answer| expected(answer.status)))
        }
        ReadinessCheck::Tcp { address } => {
            let endpoint = Endpoint::from_authority(address)?;
            Some(http::touch(&endpoint, ANSWER_TIMEOUT).await.is_ok())
        }
        ReadinessCheck::Lock { path } => {
            let file = directory.join(path);
            // Without the file, which may have been deleted, its holder cannot be determined.
            file.exists().then(|| FileLock::is_held(&file).ok())?
        }
        ReadinessCheck::Exec { .. } => None,
    }
}
