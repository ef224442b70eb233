//! Tests of the client against small servers.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

use super::*;

const LIMIT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(50);

/// Starts a server that reads one request and answers with `reply`; returns what it read.
async fn serve_once(reply: &'static [u8]) -> (Endpoint, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 4096];
        let length = stream.read(&mut seen).await.unwrap();
        seen.truncate(length);
        stream.write_all(reply).await.unwrap();
        seen
    });
    (Endpoint::tcp("127.0.0.1", port), task)
}

#[tokio::test]
async fn posts_a_body_and_reads_the_answer() {
    let (endpoint, task) = serve_once(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok").await;
    let headers = [("Content-Type", "application/json")];
    let response = request(&endpoint, "POST", "/load?x=1", &headers, Some(b"{}"), LIMIT)
        .await
        .unwrap();
    assert_eq!(
        (response.status, response.body.as_slice()),
        (201, b"ok".as_slice())
    );
    let seen = String::from_utf8(task.await.unwrap()).unwrap();
    assert!(seen.starts_with("POST /load?x=1 HTTP/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("content-type: application/json\r\n"),
        "{seen}"
    );
    assert!(seen.contains(&format!("host: {endpoint}\r\n")), "{seen}");
    assert!(seen.ends_with("\r\n\r\n{}"), "{seen}");
}

#[tokio::test]
async fn body_that_ends_with_the_connection_is_complete() {
    let (endpoint, _task) = serve_once(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    let response = get(&endpoint, "/", LIMIT).await.unwrap();
    assert_eq!(response.body, b"until the end");
}

#[tokio::test]
async fn speaks_through_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = [0; 1024];
        let _ = stream.read(&mut seen).await.unwrap();
        let reply = b"HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(reply).await.unwrap();
    });
    let response = get(&Endpoint::Unix(path), "/live", LIMIT).await.unwrap();
    assert_eq!(response.status, 204);
}

#[tokio::test]
async fn absent_servers_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let endpoints = [
        Endpoint::tcp("127.0.0.1", port),
        Endpoint::Unix("/nonexistent/socket".into()),
    ];
    for endpoint in endpoints {
        let error = get(&endpoint, "/", LIMIT).await.unwrap_err();
        assert!(matches!(error, HttpError::Refused(_)), "{error:?}");
        let error = touch(&endpoint, LIMIT).await.unwrap_err();
        assert!(matches!(error, HttpError::Refused(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_silent() {
    // No server accepts, but the kernel completes the connection.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::tcp("127.0.0.1", listener.local_addr().unwrap().port());
    let error = get(&endpoint, "/", SHORT).await.unwrap_err();
    assert!(matches!(error, HttpError::Silent(_)), "{error:?}");
    touch(&endpoint, LIMIT).await.unwrap();
}

#[tokio::test]
async fn garbage_and_a_cut_connection_are_broken() {
    for reply in [
        &b"SSH-2.0-x\r\n"[..],
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
    ] {
        let (endpoint, _task) = serve_once(reply).await;
        let error = get(&endpoint, "/", LIMIT).await.unwrap_err();
        assert!(matches!(error, HttpError::Broken { .. }), "{error:?}");
    }
}

#[test]
fn urls() {
    let parse = |url| Endpoint::from_url(url);
    let tcp = |host: &str, port, path: &str| Some((Endpoint::tcp(host, port), path.to_owned()));
    assert_eq!(
        parse("http://127.0.0.1:8222/healthz?a=b#c"),
        tcp("127.0.0.1", 8222, "/healthz?a=b")
    );
    assert_eq!(parse("http://localhost"), tcp("localhost", 80, "/"));
    assert_eq!(parse("http://[::1]:1/x"), tcp("::1", 1, "/x"));
    assert_eq!(parse("http://h:1?x"), tcp("h", 1, "/?x"));
    for bad in [
        "https://h/",
        "http://",
        "http://u@h/",
        "http://h:0/",
        "http://h:x/",
        "http://[x]:1/",
        "h:1",
    ] {
        assert_eq!(parse(bad), None, "{bad}");
    }
}
