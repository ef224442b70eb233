//! PocketBase: its superuser and its records, through Caddy as a user's browser would.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::http::{self, Answer};
use crate::harness::{SOON, Sandbox, eventually, same};

const EMAIL: &str = "boss@example.com";
const PASSWORD: &str = "a long $ecret {{x}}";

/// Logs in as a superuser through Caddy.
#[track_caller]
fn log_in(sandbox: &Sandbox, email: &str, password: &str) -> Answer {
    let path = "/api/collections/_superusers/auth-with-password";
    let body = json!({"identity": email, "password": password});
    http::post(sandbox.port("caddy.http"), path, None, &body)
}

/// Returns the token of a login, which must succeed.
#[track_caller]
fn token(sandbox: &Sandbox, email: &str, password: &str) -> String {
    let answer = log_in(sandbox, email, password);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}

/// Sends a request of a superuser, through Caddy.
#[track_caller]
fn ask(sandbox: &Sandbox, path: &str, token: &str) -> Answer {
    let headers = [("Authorization", token)];
    http::request(sandbox.port("caddy.http"), "GET", path, &headers, "").unwrap()
}

/// Creates a collection with one record; returns the record's id.
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

/// Returns how often PocketBase has hashed a password since it was started.
#[track_caller]
fn hashings(sandbox: &Sandbox) -> u64 {
    let ready = http::get(sandbox.port("pocketbase.http"), "/core/ready");
    ready.json()["hashings"].as_u64().expect("a number")
}

/// Restarts PocketBase; returns how often it has hashed a password.
#[track_caller]
fn hashings_of_a_restart(sandbox: &Sandbox) -> u64 {
    sandbox.run("restart pocketbase").succeeds();
    hashings(sandbox)
}

#[test]
fn a_password_that_was_verified_is_not_hashed_again() {
    let file = ".core-stack/pocketbase/verified.json";
    let mut sandbox = Sandbox::core();
    sandbox.superuser(EMAIL, PASSWORD);
    sandbox.up();
    same("it is set", hashings(&sandbox), 1);
    let before = token(&sandbox, EMAIL, PASSWORD);
    let mode = fs::metadata(sandbox.path(file))
        .unwrap()
        .permissions()
        .mode();
    same("mode", mode & 0o777, 0o600);
    assert!(!sandbox.read(file).contains(PASSWORD));

    sandbox.down();
    sandbox.up();
    same("the same password", hashings(&sandbox), 0);
    same(
        "sessions live",
        ask(&sandbox, "/api/settings", &before).status,
        200,
    );
    token(&sandbox, EMAIL, PASSWORD);

    // Whatever the file holds, the password decides.
    let good = sandbox.read(file);
    let empty_key = json!({"key": "", "digest": ""}).to_string();
    let other_digest = good.replace("\"digest\":\"", "\"digest\":\"0");
    for bad in ["", "{", "null", &empty_key, &other_digest] {
        fs::write(sandbox.path(file), bad).unwrap();
        same(bad, hashings_of_a_restart(&sandbox), 1);
        same("it is mended", hashings_of_a_restart(&sandbox), 0);
    }
    fs::remove_file(sandbox.path(file)).unwrap();
    same("without the file", hashings_of_a_restart(&sandbox), 1);
    same(
        "sessions live",
        ask(&sandbox, "/api/settings", &before).status,
        200,
    );
}

#[test]
fn a_password_that_was_changed_anywhere_is_the_configured_one_after_a_start() {
    let mut sandbox = Sandbox::core();
    sandbox.superuser(EMAIL, PASSWORD);
    sandbox.up();
    let session = token(&sandbox, EMAIL, PASSWORD);

    // In the interface.
    let me = ask(&sandbox, "/api/collections/_superusers/records", &session).json();
    let id = me["items"][0]["id"].as_str().unwrap();
    let path = format!("/api/collections/_superusers/records/{id}");
    let body = json!({"password": "mine, by hand", "passwordConfirm": "mine, by hand"});
    let headers = [
        ("Authorization", session.as_str()),
        ("Content-Type", "application/json"),
    ];
    let port = sandbox.port("pocketbase.http");
    let changed = http::request(port, "PATCH", &path, &headers, &body.to_string()).unwrap();
    same("status", changed.status, 200);
    token(&sandbox, EMAIL, "mine, by hand");
    same("compared and set", hashings_of_a_restart(&sandbox), 2);
    token(&sandbox, EMAIL, PASSWORD);
    same(
        "that of the interface",
        log_in(&sandbox, EMAIL, "mine, by hand").status,
        400,
    );
    same("known", hashings_of_a_restart(&sandbox), 0);

    // In the environment, and then the database, to one of before.
    sandbox.down();
    let database = sandbox.path(".data/pocketbase/pb_data");
    let earlier = sandbox.path("earlier");
    fs::create_dir(&earlier).unwrap();
    for entry in fs::read_dir(&database).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), earlier.join(entry.file_name())).unwrap();
        }
    }
    sandbox.superuser(EMAIL, "another password");
    sandbox.up();
    same("compared and set", hashings(&sandbox), 2);
    token(&sandbox, EMAIL, "another password");
    sandbox.down();
    fs::remove_dir_all(&database).unwrap();
    fs::rename(&earlier, &database).unwrap();
    sandbox.up();
    same("an earlier database", hashings(&sandbox), 2);
    token(&sandbox, EMAIL, "another password");
    same(
        "that of before",
        log_in(&sandbox, EMAIL, PASSWORD).status,
        400,
    );
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

/// Changes PocketBase's settings as its admin UI would.
#[track_caller]
fn change_settings(sandbox: &Sandbox, token: &str, settings: &Value) {
    let headers = [
        ("Authorization", token),
        ("Content-Type", "application/json"),
    ];
    let port = sandbox.port("pocketbase.http");
    let body = settings.to_string();
    let changed = http::request(port, "PATCH", "/api/settings", &headers, &body).unwrap();
    same("the settings", changed.status, 200);
}

/// Returns a rate limit for everything.
fn limit(max: u32, seconds: u32) -> Value {
    let rule = json!({"label": "/", "maxRequests": max, "duration": seconds, "audience": ""});
    json!({"rateLimits": {"enabled": true, "rules": [rule]}})
}

#[test]
fn limits_of_the_user_leave_cores_own_routes_alone() {
    let mut sandbox = Sandbox::core();
    sandbox.superuser(EMAIL, PASSWORD);
    sandbox.up();
    let (pid, controller) = (sandbox.pid("pocketbase"), sandbox.pid("controller"));
    let token = token(&sandbox, EMAIL, PASSWORD);
    change_settings(&sandbox, &token, &limit(2, 3600));
    let direct = sandbox.port("pocketbase.http");
    eventually("the limit is in effect", SOON, || {
        (http::get(direct, "/api/health").status == 429).then_some(())
    });
    for _ in 0..50 {
        same("ready", http::get(direct, "/core/ready").status, 200);
    }
    // Three successive failed probes would restart it: they come every 2 s.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(9) {
        same("status", sandbox.run("status").code, 0);
    }
    same("PocketBase", sandbox.pid("pocketbase"), pid);
    same("the controller", sandbox.pid("controller"), controller);

    // A new start is possible, too, although every request of the controller may be refused.
    sandbox.down();
    sandbox.up();
    same("status", sandbox.run("status").code, 0);
}

#[test]
fn middlewares_and_hooks_of_the_user_leave_cores_own_routes_alone() {
    let sandbox = Sandbox::core();
    let hooks = sandbox.own_service("pocketbase").join("pb_hooks");
    if hooks.is_symlink() {
        fs::remove_file(&hooks).unwrap();
    }
    fs::create_dir_all(&hooks).unwrap();
    let text = "\
        routerUse((e) => { throw new ForbiddenError('not today'); });\n\
        routerUse(new Middleware((e) => { throw new ForbiddenError('early'); }, -100000));\n";
    // Before and after Core's own, by name.
    fs::write(hooks.join("a.pb.js"), text).unwrap();
    fs::write(hooks.join("z.pb.js"), text).unwrap();
    sandbox.up();
    let direct = sandbox.port("pocketbase.http");
    same(
        "the user's rule",
        http::get(direct, "/api/health").status,
        403,
    );
    let ready = http::get(direct, "/core/ready");
    same("ready", ready.status, 200);
    let taken = http::request(direct, "POST", "/core/token", &[], "").unwrap();
    same("without the secret", taken.status, 401);
    same("status", sandbox.run("status").code, 0);
}

#[test]
fn guesses_of_a_superusers_password_are_limited_and_logins_are_not() {
    let mut sandbox = Sandbox::core();
    sandbox.superuser(EMAIL, PASSWORD);
    sandbox.up();
    for _ in 0..20 {
        same("a login", log_in(&sandbox, EMAIL, PASSWORD).status, 200);
    }
    // Some failures, and a success between them, lock no user out.
    let guess = |email: &str| log_in(&sandbox, email, "not the password").status;
    for email in [EMAIL, "nobody@example.com"].into_iter().cycle().take(9) {
        same("a guess", guess(email), 400);
    }
    let kept = token(&sandbox, EMAIL, PASSWORD);
    same("the last guess", guess(EMAIL), 400);
    for _ in 0..10 {
        same("too many", guess(EMAIL), 429);
    }
    same(
        "the right one",
        log_in(&sandbox, EMAIL, PASSWORD).status,
        429,
    );
    // A session continues, and nothing else is limited.
    for _ in 0..100 {
        let settings = ask(&sandbox, "/api/settings", &kept);
        same("settings", settings.status, 200);
    }
    let settings = ask(&sandbox, "/api/settings", &kept).json();
    same(
        "PocketBase's own limiter",
        &settings["rateLimits"]["enabled"],
        &json!(false),
    );

    // Clients behind Caddy are counted separately; a client cannot choose its own address.
    let direct = sandbox.port("pocketbase.http");
    let path = "/api/collections/_superusers/auth-with-password";
    let body = json!({"identity": EMAIL, "password": PASSWORD}).to_string();
    let as_client = |port: u16, address: &str| {
        let headers = [
            ("X-Real-Ip", address),
            ("X-Forwarded-For", address),
            ("Content-Type", "application/json"),
        ];
        let answer = http::request(port, "POST", path, &headers, &body);
        answer.unwrap().status
    };
    same("another client", as_client(direct, "192.0.2.7"), 200);
    same(
        "said through Caddy",
        as_client(sandbox.port("caddy.http"), "192.0.2.8"),
        429,
    );
}

#[test]
fn guesses_at_the_same_time_are_limited_too() {
    let mut sandbox = Sandbox::core();
    sandbox.superuser(EMAIL, PASSWORD);
    sandbox.up();
    let compared = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..120)
            .map(|_| scope.spawn(|| log_in(&sandbox, EMAIL, "not the password").status))
            .collect();
        let statuses = guesses.into_iter().map(|guess| guess.join().unwrap());
        statuses.filter(|status| *status == 400).count()
    });
    // Fifty concurrent ones, and nine before them.
    assert!(compared < 60, "{compared} of 120 were compared");
}

#[test]
fn the_made_up_superuser_ends_when_another_one_is_named() {
    let mut sandbox = Sandbox::core();
    sandbox.up();
    let text = sandbox.read(".data/pocketbase/superuser.json");
    let account: Value = serde_json::from_str(&text).unwrap();
    let (email, password) = (
        account["email"].as_str().unwrap().to_owned(),
        account["password"].as_str().unwrap().to_owned(),
    );
    let before = token(&sandbox, &email, &password);
    let run = sandbox.run("up").succeeds();
    assert!(
        run.stderr.contains("/_/ is for the superuser whose"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains(".data/pocketbase/superuser.json"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains(&password), "{}", run.stderr);

    sandbox.superuser(EMAIL, PASSWORD);
    let run = sandbox.run("up").succeeds();
    let told = format!("/_/ is for the superuser {EMAIL}");
    assert!(run.stderr.contains(&told), "{}", run.stderr);
    same("made up", log_in(&sandbox, &email, &password).status, 400);
    same(
        "its session",
        ask(&sandbox, "/api/settings", &before).status,
        401,
    );
    token(&sandbox, EMAIL, PASSWORD);
    let log = sandbox.read(".core-stack/logs/pocketbase.log");
    assert!(log.contains("the generated account was removed"), "{log}");
}

#[test]
fn a_made_up_superuser_with_another_password_is_kept_and_told() {
    let mut sandbox = Sandbox::core();
    sandbox.up();
    let text = sandbox.read(".data/pocketbase/superuser.json");
    let account: Value = serde_json::from_str(&text).unwrap();
    let (email, password) = (
        account["email"].as_str().unwrap().to_owned(),
        account["password"].as_str().unwrap().to_owned(),
    );
    let before = token(&sandbox, &email, &password);
    let me = ask(&sandbox, "/api/collections/_superusers/records", &before).json();
    let id = me["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/collections/_superusers/records/{id}");
    let body = json!({"password": "mine, by hand", "passwordConfirm": "mine, by hand"});
    let headers = [
        ("Authorization", before.as_str()),
        ("Content-Type", "application/json"),
    ];
    let port = sandbox.port("pocketbase.http");
    let changed = http::request(port, "PATCH", &path, &headers, &body.to_string()).unwrap();
    same("status", changed.status, 200);

    sandbox.superuser(EMAIL, PASSWORD);
    sandbox.up();
    token(&sandbox, &email, "mine, by hand");
    token(&sandbox, EMAIL, PASSWORD);
    let log = sandbox.read(".core-stack/logs/pocketbase.log");
    assert!(log.contains("its password was changed by hand"), "{log}");
}
