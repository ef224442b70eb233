//! Real servers for tests, and common steps with them.

use std::fs;
use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use kit::http::{self, Endpoint};
use serde_json::{Value, json};
use service_nats::client::{Client, Headers};
use service_nats::cluster::Cluster;
use service_nats::credentials::Login;
use service_nats::jetstream::JetStream;
use tempfile::TempDir;
use tokio::time::Instant;

/// Longest duration of any step on a machine under load.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Variables that cargo sets for the programs it runs.
const GIVEN_BY_CARGO: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"];
/// Pause between two polls of a condition.
const POLL: Duration = Duration::from_millis(10);

/// A nats-server that runs until it is dropped.
pub(crate) struct Server {
    child: Child,
    dir: TempDir,
    pub(crate) port: u16,
    http: u16,
}

/// Runs a test on a runtime like that of the commands.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = kit::runtime::current_thread().unwrap();
    runtime.block_on(test);
}

/// Polls until `look` returns something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Stores messages and waits for their acknowledgements.
pub(crate) async fn store(js: &JetStream, subject: &str, count: usize) {
    for number in 0..count {
        put(js, subject, format!("message {number}").as_bytes()).await;
    }
}

/// Stores messages with bytes that cannot be compressed.
pub(crate) async fn store_random(js: &JetStream, subject: &str, count: usize, size: usize) {
    let mut state = 88_172_645_463_325_252_u64;
    for _ in 0..count {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .take(size)
        .collect();
        put(js, subject, &bytes).await;
    }
}

async fn put(js: &JetStream, subject: &str, payload: &[u8]) {
    let none = Headers::new();
    let ack = js.client().request(subject, &none, payload, SOON).await;
    let ack: Value = serde_json::from_slice(&ack.unwrap().payload).unwrap();
    assert!(ack["seq"].is_u64(), "{ack}");
}

/// Fetches messages of a pull consumer and acknowledges the first of them.
pub(crate) async fn take(js: &JetStream, stream: &str, consumer: &str, count: usize, acks: usize) {
    let client = js.client();
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(&inbox, count + 1).await.unwrap();
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
    let body = json!({"batch": count}).to_string();
    let asked = client
        .publish(&subject, Some(&inbox), &Headers::new(), body.as_bytes())
        .await;
    asked.unwrap();
    for number in 0..count {
        let message = messages.next(SOON).await.unwrap();
        let reply = message.reply.expect("it is to be acknowledged");
        if number < acks {
            let acked = client.request(&reply, &Headers::new(), b"+ACK", SOON).await;
            acked.unwrap();
        }
    }
}

impl Server {
    /// Starts a single server.
    pub(crate) fn alone() -> Self {
        let mut server = Self::start("test", free_ports::<2>(), &json!({}));
        server.wait();
        server
    }

    /// Starts a cluster of three servers.
    pub(crate) fn hub() -> Vec<Self> {
        let ports = free_ports::<9>();
        let routes: Vec<String> = ports[6..]
            .iter()
            .map(|port| format!("nats-route://127.0.0.1:{port}"))
            .collect();
        let node = |index: usize| {
            let cluster = json!({"cluster": {
                "name": "test", "listen": format!("127.0.0.1:{}", ports[6 + index]),
                "routes": routes,
            }});
            let name = format!("test-{}", index + 1);
            Self::start(&name, [ports[index], ports[3 + index]], &cluster)
        };
        let mut hub: Vec<Self> = (0..3).map(node).collect();
        hub.iter_mut().for_each(Self::wait);
        hub
    }

    fn start(name: &str, [port, http]: [u16; 2], more: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let user = |user: &str| json!([{"user": user, "password": password(user)}]);
        let mut config = json!({
            "server_name": name,
            "listen": format!("127.0.0.1:{port}"),
            "http": format!("127.0.0.1:{http}"),
            "jetstream": {"store_dir": dir.path(), "domain": "test"},
            "accounts": {
                "APP": {"jetstream": "enabled", "users": user("app")},
                "SYS": {"users": user("sys")},
            },
            "system_account": "SYS",
            "no_auth_user": "app",
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let login = |name: &str| json!({"user": name, "password": password(name)});
        let credentials = json!({"app": login("app"), "sys": login("sys")});
        fs::write(dir.path().join("credentials.json"), credentials.to_string()).unwrap();
        let file = dir.path().join("nats.conf");
        fs::write(&file, config.to_string()).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(program())
            .args(["-c".as_ref(), file.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            dir,
            port,
            http,
        }
    }

    /// Waits until it is ready.
    fn wait(&mut self) {
        run(async {
            let deadline = Instant::now() + SOON;
            while !matches!(self.get("/healthz").await, Some((200, _))) {
                let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                assert!(self.child.try_wait().unwrap().is_none(), "it died: {log}");
                assert!(Instant::now() < deadline, "it is not healthy: {log}");
                tokio::time::sleep(POLL).await;
            }
        });
    }

    pub(crate) fn login(user: &str) -> Login {
        Login {
            user: user.to_owned(),
            password: password(user),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.port, None, "test").await.unwrap()
    }

    pub(crate) async fn jetstream(&self) -> JetStream {
        JetStream::new(self.client().await)
    }

    pub(crate) async fn cluster(&self) -> Cluster {
        Cluster::connect(self.port, self.dir.path()).await.unwrap()
    }

    /// Returns the leader of the meta group, as this server sees it.
    pub(crate) async fn meta_leader(&self) -> Option<String> {
        let jsz = self.meta().await;
        jsz["leader"].as_str().map(str::to_owned)
    }

    /// Returns the number of members of the meta group.
    pub(crate) async fn members(&self) -> u64 {
        self.meta().await["cluster_size"]
            .as_u64()
            .unwrap_or_default()
    }

    /// Returns the number of its streams.
    pub(crate) async fn streams(&self) -> Option<u64> {
        self.jsz().await["streams"].as_u64()
    }

    async fn meta(&self) -> Value {
        self.jsz().await["meta_cluster"].clone()
    }

    async fn jsz(&self) -> Value {
        let (_, body) = self.get("/jsz").await.unwrap_or_default();
        serde_json::from_slice(&body).unwrap_or_default()
    }

    async fn get(&self, path: &str) -> Option<(u16, Vec<u8>)> {
        let monitor = Endpoint::tcp("127.0.0.1", self.http);
        let answer = http::get(&monitor, path, SOON).await.ok()?;
        Some((answer.status, answer.body))
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn password(user: &str) -> String {
    format!("p{user}")
}

/// Returns the server that `dep.lock` pins; on a fresh clone it is fetched first, once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let program = root.join(".dep/nats-server");
        if !program.exists() {
            fetch(&root);
        }
        program
    })
}

fn fetch(root: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    // With these variables, cargo would rebuild every package whose build script reads them.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if GIVEN_BY_CARGO.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    let fetched = cargo
        .args(["xtask", "dep", "fetch", "nats-server"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&fetched.stderr);
    assert!(fetched.status.success(), "cannot fetch the server: {told}");
}

/// Returns ports that were free a moment ago, all different.
fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
