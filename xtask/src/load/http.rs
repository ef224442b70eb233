//! Clients of Caddy's pages: with a new connection for each request, and with a kept one.

use std::time::{Duration, Instant};

use kit::http::kept::Kept;
use kit::http::{self, Endpoint, Response};

use super::Work;
use super::tally::{Client, Tally};

/// The pages: Caddy's own, and one of PocketBase.
pub(super) const PAGES: [&str; 2] = ["/healthz", "/api/health"];
/// Pause between two requests.
const PAUSE: Duration = Duration::from_millis(10);
/// How long an answer may take: Caddy itself waits 10 s for PocketBase.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Requests a page until the end. No request is sent twice except one on a kept connection that the
/// server had closed.
pub(super) async fn client(work: Work, caddy: Endpoint, page: &str, keep: bool) -> Client {
    let mut tally = Tally::begin(Instant::now());
    let mut kept = Kept::new(caddy.clone());
    while work.goes_on() {
        let answer = if keep {
            kept.request("GET", page, &[], None, ANSWER_LIMIT).await
        } else {
            http::get(&caddy, page, ANSWER_LIMIT).await
        };
        match answer {
            Ok(Response { status: 200, .. }) => work.done(&mut tally),
            Ok(answer) => tally.give_up(format!("`{page}` answered {}", answer.status)),
            Err(error) => tally.give_up(super::chain(&error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
    for _ in 1..kept.opened() {
        tally.disconnected();
    }
    tally.end(Instant::now())
}
