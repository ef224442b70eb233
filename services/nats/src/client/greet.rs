//! The start of a connection: the server sends INFO, the client logs in.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::connection::{ANSWERS_SID, Connection, start};
use super::error::ClientError;
use super::wire::{self, Frame};
use crate::credentials::Login;

/// Connects, logs in and starts both tasks.
pub(super) async fn open(
    address: SocketAddr,
    login: Option<&Login>,
    name: &str,
    inbox: &str,
) -> Result<Connection, ClientError> {
    let address_text = address.to_string();
    let io = |error| ClientError::io(&address_text, error);
    let stream = TcpStream::connect(address).await.map_err(io)?;
    stream.set_nodelay(true).map_err(io)?;
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    let Some(Frame::Info(info)) = wire::read(&mut reading, &address_text).await? else {
        return Err(ClientError::protocol(&address_text, "it does not greet"));
    };
    let hello = hello(login, name, inbox);
    writing.write_all(hello.as_bytes()).await.map_err(io)?;
    loop {
        match wire::read(&mut reading, &address_text).await? {
            Some(Frame::Pong) => break,
            Some(Frame::Ok | Frame::Info(_)) => {}
            Some(Frame::Error(reason)) => {
                return Err(ClientError::Denied {
                    address: address_text,
                    reason,
                });
            }
            Some(Frame::Ping) => writing.write_all(b"PONG\r\n").await.map_err(io)?,
            Some(Frame::Message { .. }) | None => {
                return Err(ClientError::protocol(&address_text, "it ends the greeting"));
            }
        }
    }
    Ok(start(*info, address_text, reading, writing))
}

/// Returns `CONNECT`, the subscription for answers, and a PING whose PONG confirms both.
fn hello(login: Option<&Login>, name: &str, inbox: &str) -> String {
    let mut options = json!({
        "verbose": false, "pedantic": false, "tls_required": false, "echo": true,
        "headers": true, "no_responders": true, "protocol": 1,
        "name": name, "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(login) = login {
        options["user"] = json!(login.user);
        options["pass"] = json!(login.password);
    }
    format!("CONNECT {options}\r\nSUB {inbox}.* {ANSWERS_SID}\r\nPING\r\n")
}
