//! One connection: a task that reads, a task that writes, and the waiting requests.
//!
//! Both tasks end when the last handle is dropped or the server closes; then every waiting caller
//! receives the reason.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::error::ClientError;
use super::wire::{self, Frame, Message, ServerInfo};

/// How many frames may wait to be written; each is at most a message of the largest size.
const WAITING_FRAMES: usize = 32;
/// The subscription that receives the answers to requests.
pub(super) const ANSWERS_SID: u64 = 1;

/// The handles' side.
#[derive(Debug)]
pub(super) struct Connection {
    info: ServerInfo,
    shared: Arc<Shared>,
    frames: mpsc::Sender<Vec<u8>>,
    reader: AbortHandle,
    writer: AbortHandle,
}

/// The state that handles and tasks share.
#[derive(Debug)]
struct Shared {
    address: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next_sid: u64,
    subscriptions: HashMap<u64, Listener>,
    requests: HashMap<u64, oneshot::Sender<Message>>,
    pings: VecDeque<oneshot::Sender<()>>,
    /// Why the connection is closed.
    closed: Option<ClientError>,
}

#[derive(Debug)]
struct Listener {
    messages: mpsc::Sender<Message>,
    overrun: Arc<AtomicBool>,
}

/// A registered request; removed when it is dropped.
pub(super) struct Waiting {
    number: u64,
    answer: Option<oneshot::Receiver<Message>>,
    shared: Arc<Shared>,
}

/// The messages of a subject, until it is dropped.
#[derive(Debug)]
pub struct Subscription {
    subject: String,
    sid: u64,
    messages: mpsc::Receiver<Message>,
    overrun: Arc<AtomicBool>,
    shared: Arc<Shared>,
    frames: mpsc::WeakSender<Vec<u8>>,
}

/// Starts both tasks of a connection that is logged in.
pub(super) fn start(
    info: ServerInfo,
    address: String,
    reading: BufReader<OwnedReadHalf>,
    writing: OwnedWriteHalf,
) -> Connection {
    let shared = Arc::new(Shared {
        address,
        state: Mutex::new(State {
            next_sid: ANSWERS_SID + 1,
            subscriptions: HashMap::new(),
            requests: HashMap::new(),
            pings: VecDeque::new(),
            closed: None,
        }),
    });
    let (frames, waiting) = mpsc::channel(WAITING_FRAMES);
    let reader = tokio::spawn(read_all(
        reading,
        Arc::downgrade(&shared),
        frames.downgrade(),
    ));
    let writer = tokio::spawn(write_all(
        writing,
        waiting,
        Arc::downgrade(&shared),
        reader.abort_handle(),
    ));
    Connection {
        info,
        shared,
        frames,
        reader: reader.abort_handle(),
        writer: writer.abort_handle(),
    }
}

/// Writes frames as they come, several at once when they wait. A frame is never written in part: a
/// caller that stops waiting drops a whole frame.
async fn write_all(
    writing: OwnedWriteHalf,
    mut waiting: mpsc::Receiver<Vec<u8>>,
    shared: Weak<Shared>,
    reader: AbortHandle,
) {
    let mut writing = BufWriter::new(writing);
    while let Some(frame) = waiting.recv().await {
        let written = async {
            writing.write_all(&frame).await?;
            while let Ok(frame) = waiting.try_recv() {
                writing.write_all(&frame).await?;
            }
            writing.flush().await
        };
        if let Err(error) = written.await {
            if let Some(shared) = shared.upgrade() {
                let error = ClientError::io(&shared.address, error);
                shared.close(error);
            }
            break;
        }
    }
    let _ = writing.shutdown().await;
    reader.abort();
    if let Some(shared) = shared.upgrade() {
        shared.close_here();
    }
}

/// Reads until the server closes or sends a fatal error.
async fn read_all(
    mut reading: BufReader<OwnedReadHalf>,
    shared: Weak<Shared>,
    frames: mpsc::WeakSender<Vec<u8>>,
) {
    let Some(address) = shared.upgrade().map(|shared| shared.address.clone()) else {
        return;
    };
    let mut last_error = None;
    let end = loop {
        let frame = match wire::read(&mut reading, &address).await {
            Ok(Some(frame)) => frame,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        match frame {
            Frame::Message { sid, message } => {
                if let Some(unsubscribe) = shared.deliver(sid, message) {
                    send(&frames, unsubscribe).await;
                }
            }
            Frame::Ping => send(&frames, b"PONG\r\n".to_vec()).await,
            Frame::Pong => shared.pong(),
            Frame::Ok | Frame::Info(_) => {}
            // The server closes after most of these; we then report its error as the reason.
            Frame::Error(error) => last_error = Some(error),
        }
    };
    if let Some(shared) = shared.upgrade() {
        shared.close(end.unwrap_or_else(|| ClientError::Closed {
            address,
            reason: last_error.unwrap_or_else(|| "the server closed it".to_owned()),
        }));
    }
}

async fn send(frames: &mpsc::WeakSender<Vec<u8>>, frame: Vec<u8>) {
    if let Some(frames) = frames.upgrade() {
        let _ = frames.send(frame).await;
    }
}

impl Connection {
    pub(super) fn info(&self) -> &ServerInfo {
        &self.info
    }

    pub(super) async fn send(&self, frame: Vec<u8>) -> Result<(), ClientError> {
        if let Some(error) = self.shared.lock().closed.clone() {
            return Err(error);
        }
        let sent = self.frames.send(frame).await;
        sent.map_err(|_| self.why_closed())
    }

    pub(super) fn why_closed(&self) -> ClientError {
        self.shared.why_closed()
    }

    /// Registers a subscription and returns the frame that requests it.
    pub(super) fn subscribe(
        &self,
        subject: &str,
        capacity: usize,
    ) -> Result<(Subscription, Vec<u8>), ClientError> {
        let (sender, messages) = mpsc::channel(capacity.max(1));
        let overrun = Arc::new(AtomicBool::new(false));
        let listener = Listener {
            messages: sender,
            overrun: overrun.clone(),
        };
        let mut state = self.shared.lock();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        let sid = state.next_sid;
        state.next_sid += 1;
        state.subscriptions.insert(sid, listener);
        let subscription = Subscription {
            subject: subject.to_owned(),
            sid,
            messages,
            overrun,
            shared: self.shared.clone(),
            frames: self.frames.downgrade(),
        };
        Ok((
            subscription,
            format!("SUB {subject} {sid}\r\n").into_bytes(),
        ))
    }

    /// Registers a request, whose answer comes on the inbox of that number.
    pub(super) fn expect_answer(&self, number: u64) -> Result<Waiting, ClientError> {
        let (sender, answer) = oneshot::channel();
        let mut state = self.shared.lock();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        state.requests.insert(number, sender);
        Ok(Waiting {
            number,
            answer: Some(answer),
            shared: self.shared.clone(),
        })
    }

    /// Sends a PING; `told` is notified of its PONG.
    pub(super) async fn ping(&self, told: oneshot::Sender<()>) -> Result<(), ClientError> {
        // Registered and sent as one step, so that each PONG finds its own.
        let permit = self.frames.reserve().await;
        let permit = permit.map_err(|_| self.why_closed())?;
        let mut state = self.shared.lock();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        state.pings.push_back(told);
        permit.send(b"PING\r\n".to_vec());
        Ok(())
    }

    /// Closes the connection for all handles.
    pub(super) fn end(&self) {
        self.shared.close_here();
        self.reader.abort();
        self.writer.abort();
    }
}

impl Shared {
    /// No holder of the lock can panic halfway, so a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why_closed(&self) -> ClientError {
        let closed = self.lock().closed.clone();
        closed.unwrap_or_else(|| ClientError::Closed {
            address: self.address.clone(),
            reason: "the server closed it".to_owned(),
        })
    }

    /// Records the first reason and wakes every waiting caller.
    fn close(&self, error: ClientError) {
        let mut state = self.lock();
        state.closed.get_or_insert(error);
        state.subscriptions.clear();
        state.requests.clear();
        state.pings.clear();
    }

    fn close_here(&self) {
        self.close(ClientError::Closed {
            address: self.address.clone(),
            reason: "it was closed here".to_owned(),
        });
    }

    /// Delivers a message. Returns the frame that ends a subscription which is read too slowly.
    fn deliver(&self, sid: u64, message: Message) -> Option<Vec<u8>> {
        let mut state = self.lock();
        if sid == ANSWERS_SID {
            let number = message.subject.rsplit('.').next();
            let number: Option<u64> = number.and_then(|number| number.parse().ok());
            if let Some(waiting) = number.and_then(|number| state.requests.remove(&number)) {
                let _ = waiting.send(message);
            }
            return None;
        }
        let listener = state.subscriptions.get(&sid)?;
        if let Err(mpsc::error::TrySendError::Full(_)) = listener.messages.try_send(message) {
            listener.overrun.store(true, Ordering::Relaxed);
            state.subscriptions.remove(&sid);
            return Some(unsubscribe(sid));
        }
        None
    }

    fn pong(&self) {
        if let Some(waiting) = self.lock().pings.pop_front() {
            let _ = waiting.send(());
        }
    }
}

fn unsubscribe(sid: u64) -> Vec<u8> {
    format!("UNSUB {sid}\r\n").into_bytes()
}

impl Waiting {
    pub(super) async fn answer(mut self) -> Result<Message, ClientError> {
        let answer = self.answer.take().expect("it is taken once");
        answer.await.map_err(|_| self.shared.why_closed())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.lock().requests.remove(&self.number);
    }
}

impl Subscription {
    /// Returns the next message; waits at most `within`.
    pub async fn next(&mut self, within: Duration) -> Result<Message, ClientError> {
        let next = timeout(within, self.messages.recv())
            .await
            .map_err(|_| ClientError::timeout(format!("a message of `{}`", self.subject)))?;
        next.ok_or_else(|| {
            if self.overrun.load(Ordering::Relaxed) {
                let subject = self.subject.clone();
                ClientError::Overrun { subject }
            } else {
                self.shared.why_closed()
            }
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let was_there = self.shared.lock().subscriptions.remove(&self.sid);
        // If the queue is full, the server continues to send messages, which are dropped.
        if was_there.is_some()
            && let Some(frames) = self.frames.upgrade()
        {
            let _ = frames.try_send(unsubscribe(self.sid));
        }
    }
}
