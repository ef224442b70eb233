//! PocketBase: its superuser, its records, through Caddy as a user's browser would.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::harness::http::{self, Answer};
use crate::harness::{Sandbox, same};

const EMAIL: &str = "boss@example.com";
const PASSWORD: &str = "a long $ecret {{x}}";

/// Logs in as a superuser through Caddy.
#[track_caller]
fn log_in(sandbox: &Sandbox, email: &str, password: &str) -> Answer {
    let path = "/api/collections/_superusers/auth-with-password";
    let body = json!({"identity": email, "password": password});
    http::post(sandbox.port("caddy.http"), path, None, &body)
}

/// The token of a login, which must succeed.
#[track_caller]
fn token(sandbox: &Sandbox, email: &str, password: &str) -> String {
    let answer = log_in(sandbox, email, password);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}

/// A question of a superuser, through Caddy.
#[track_caller]
fn ask(sandbox: &Sandbox, path: &str, token: &str) -> Answer {
    let headers = [("Authorization", token)];
    http::request(sandbox.port("caddy.http"), "GET", path, &headers, "").unwrap()
}

/// Makes a collection with one record; returns the record's id.
#[track_caller]
fn write_record(sandbox: &Sandbox, token: &str) -> String {
    let caddy = sandbox.port("caddy.http");
    let fields = json!([{"name": "title", "type": "text"}]);
    let collection = json!({"name": "notes", "type": "base", "fields": fields});
    let made = http::post(caddy, "/api/collections", Some(token), &collection);
    assert_eq!(made.status, 200, "{made:?}");
    let record = json!({"title": "kept"});
    let made = http::post(
        caddy,
        "/api/collections/notes/records",
        Some(token),
        &record,
    );
    assert_eq!(made.status, 200, "{made:?}");
    made.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn the_superuser_and_a_record_outlive_the_stack() {
    let mut sandbox = Sandbox::core();
    sandbox.superuser(EMAIL, PASSWORD);
    sandbox.up();
    let before = token(&sandbox, EMAIL, PASSWORD);
    let id = write_record(&sandbox, &before);
    same(
        "a wrong password",
        log_in(&sandbox, EMAIL, "not the password").status,
        400,
    );

    sandbox.down();
    sandbox.up();
    // With the token from before: setting the same password again would have ended it.
    let record = ask(
        &sandbox,
        &format!("/api/collections/notes/records/{id}"),
        &before,
    );
    same("status", record.status, 200);
    same("title", &record.json()["title"], &json!("kept"));
    token(&sandbox, EMAIL, PASSWORD);
}

#[test]
fn a_new_password_in_the_environment_takes_the_place_of_the_old_one() {
    let mut sandbox = Sandbox::core();
    sandbox.superuser(EMAIL, PASSWORD);
    sandbox.up();
    let before = token(&sandbox, EMAIL, PASSWORD);
    let id = write_record(&sandbox, &before);

    sandbox.superuser(EMAIL, "another password");
    let changed = sandbox.up();
    same("outcome", &changed["outcome"], &json!("changed"));
    same(
        "changes",
        &changed["changes"],
        &json!({"pocketbase": "updated"}),
    );
    same(
        "the old password",
        log_in(&sandbox, EMAIL, PASSWORD).status,
        400,
    );
    let after = token(&sandbox, EMAIL, "another password");
    let record = ask(
        &sandbox,
        &format!("/api/collections/notes/records/{id}"),
        &after,
    );
    same("status", record.status, 200);
}

#[test]
fn without_one_a_superuser_is_made_up_once_and_its_place_told() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let file = ".data/pocketbase/superuser.json";
    let mode = fs::metadata(sandbox.path(file))
        .unwrap()
        .permissions()
        .mode();
    same("mode", mode & 0o777, 0o600);
    let text = sandbox.read(file);
    let account: Value = serde_json::from_str(&text).unwrap();
    let (email, password) = (
        account["email"].as_str().unwrap(),
        account["password"].as_str().unwrap(),
    );
    same("e-mail", email, "admin@core.local");
    let before = token(&sandbox, email, password);
    let log = sandbox.read(".core-stack/logs/pocketbase.log");
    assert!(
        log.contains("superuser: e-mail and first password are in `"),
        "{log}"
    );
    assert!(log.contains(file) && !log.contains(password), "{log}");

    // A password that was changed in the UI is not changed back.
    let caddy = sandbox.port("caddy.http");
    let me = ask(&sandbox, "/api/collections/_superusers/records", &before).json();
    let id = me["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/collections/_superusers/records/{id}");
    let body = json!({"password": "mine, by hand", "passwordConfirm": "mine, by hand"}).to_string();
    let headers = [
        ("Authorization", before.as_str()),
        ("Content-Type", "application/json"),
    ];
    let changed = http::request(caddy, "PATCH", &path, &headers, &body).unwrap();
    same("status", changed.status, 200);
    sandbox.down();
    sandbox.up();
    token(&sandbox, email, "mine, by hand");
    same("the file", sandbox.read(file), text);
}

#[test]
fn hooks_and_pages_of_the_user_are_served() {
    let sandbox = Sandbox::core();
    let folder = sandbox.own_service("pocketbase");
    for (name, text) in [
        (
            "pb_hooks/hello.pb.js",
            "routerAdd('GET', '/hello', (e) => e.string(200, 'from a hook'));",
        ),
        ("pb_public/page.html", "<p>a page</p>"),
    ] {
        let path = folder.join(name);
        let directory = path.parent().unwrap();
        if directory.is_symlink() {
            fs::remove_file(directory).unwrap();
        }
        fs::create_dir_all(directory).unwrap();
        fs::write(path, text).unwrap();
    }
    sandbox.up();
    let caddy = sandbox.port("caddy.http");
    let hook = http::get(caddy, "/hello");
    same(
        "a hook",
        (hook.status, hook.body.as_str()),
        (200, "from a hook"),
    );
    let page = http::get(caddy, "/page.html");
    same(
        "a page",
        (page.status, page.body.as_str()),
        (200, "<p>a page</p>"),
    );
}
