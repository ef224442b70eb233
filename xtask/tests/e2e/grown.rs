//! A repository that grew from Core, with services of its user: its tests pass, it can be moved and
//! upgraded, and a broken file in it does not affect the running stack.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use serde_json::json;

use crate::harness::{Sandbox, http, same};

/// Writes a file of the user.
fn write(sandbox: &Sandbox, path: &str, text: &str) {
    let path = sandbox.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Truncates a file.
fn truncate(sandbox: &Sandbox, path: &str) {
    let text = sandbox.read(path);
    let half = &text[..text.len() / 2];
    fs::write(sandbox.path(path), half).unwrap();
}

/// Adds a service as a web tool creates it, with all files of its package manager.
fn add_web(sandbox: &mut Sandbox) -> u16 {
    let port = sandbox.spare_port("web.http");
    write(sandbox, "services/web/index.html", "<h1>\thello</h1> \n\n");
    write(sandbox, "services/web/Makefile", "all:\n\tnpm run build\n");
    write(
        sandbox,
        "services/web/src/main.rs.md",
        "[gone](nowhere.md)\n",
    );
    let package = "services/web/node_modules/left-pad";
    write(
        sandbox,
        &format!("{package}/README.md"),
        "[gone](nowhere.md)\t\n",
    );
    write(
        sandbox,
        &format!("{package}/service.json"),
        "not a manifest",
    );
    write(sandbox, &format!("{package}/Cargo.toml"), "not a package");
    fs::create_dir(sandbox.path("services/web/node_modules/.bin")).unwrap();
    symlink(
        "../nowhere",
        sandbox.path("services/web/node_modules/.bin/dead"),
    )
    .unwrap();
    write(sandbox, "services/web/dist/index.html", "<p>\t</p>");
    let manifest = json!({
        "process": {
            "command": "python3 -m http.server ${port.http} --bind 127.0.0.1",
            "compose": {
                "working_dir": "services/web",
                "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}},
            },
        },
        "ports": {"http": {"port": port, "protocol": "http"}},
    });
    write(
        sandbox,
        "services/web/service.json",
        &format!("{manifest:#}\n"),
    );
    port
}

#[test]
fn services_of_a_user_keep_the_repository_green() {
    let mut clone = Sandbox::clone_of_checkout();
    let (rust, python) = (clone.spare_port("mine.http"), clone.spare_port("api.http"));
    clone
        .cargo(&format!("xtask init mine --wrapper --port {rust}"))
        .succeeds();
    clone
        .cargo(&format!("xtask init api --port {python}"))
        .succeeds();
    let web = add_web(&mut clone);
    // Documents of the user follow their own rules, too.
    write(
        &clone,
        "docs/notes.md",
        "[gone](nowhere.md)\t\ncargo xtask frobnicate\n",
    );
    write(&clone, "README.md", "# Ours\t\n");
    clone.cargo("test --workspace --test tidy").succeeds();
    clone.cargo("test -p service-mine").succeeds();
    clone.cargo("xtask render --check").succeeds();

    let report = clone.cargo("xtask up --json").succeeds().json();
    same("outcome", &report["outcome"], &json!("started"));
    for (port, text) in [(rust, "hello from mine"), (python, "# api"), (web, "hello")] {
        let path = if port == python { "/README.md" } else { "/" };
        let page = http::get(port, path);
        assert!(page.body.contains(text), "{page:?}");
    }
    // An unrelated service is broken, and another one is half written.
    truncate(&clone, "services/api/service.json");
    write(&clone, "services/new/service.json", "{");
    let status = clone.cargo("xtask status --json").succeeds().json();
    same("healthy", &status["healthy"], &json!(true));
    same("services", status["services"].as_object().unwrap().len(), 7);
    clone.cargo("xtask up").ends(10);
    clone.cargo("xtask down").succeeds();
    let status = clone.cargo("xtask status --json").ends(3).json();
    let problem = status["problem"].as_str().unwrap();
    assert!(problem.contains("services/api/service.json:"), "{problem}");

    clone.git(&["init", "--quiet"]).succeeds();
    for path in [
        "node_modules/x",
        "dist/x",
        "x.swp",
        ".idea/x",
        "src/__pycache__/x",
    ] {
        let path = format!("services/web/{path}");
        clone.git(&["check-ignore", "--quiet", &path]).succeeds();
    }
}

#[test]
fn nothing_that_is_broken_is_in_the_way_of_what_runs() {
    let clone = Sandbox::clone_of_checkout();
    let run = clone.cargo("xtask up").succeeds();
    let without_cargo = "`.core-stack/xtask down`";
    assert!(run.stderr.contains(without_cargo), "{}", run.stderr);
    let kept = fs::metadata(clone.path(".core-stack/xtask")).unwrap();
    assert!(kept.nlink() > 1, "it is a link and no copy");
    let inode = kept.ino();
    clone.cargo("xtask up").succeeds();
    let kept = fs::metadata(clone.path(".core-stack/xtask")).unwrap();
    same("inode", kept.ino(), inode);

    // A manifest of Core: the error has its line, and no build fails.
    truncate(&clone, "services/nats/service.json");
    let run = clone.cargo("xtask up").ends(10);
    assert!(
        run.stderr.contains("services/nats/service.json:"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("\nhint: "), "{}", run.stderr);
    clone.cargo("xtask status").succeeds();
    // Files that cargo itself reads.
    for path in [
        "Cargo.lock",
        "cmd/nats/Cargo.toml",
        "Cargo.toml",
        ".cargo/config.toml",
    ] {
        truncate(&clone, path);
        let run = clone.cargo("xtask status");
        assert!(run.code != 0, "`{path}` is broken: {}", run.stdout);
        clone
            .program_of_its_own(".core-stack/xtask status")
            .succeeds();
    }
    fs::write(clone.path(".env"), "not a line\n").unwrap();
    clone
        .program_of_its_own(".core-stack/xtask status")
        .succeeds();
    let logs = clone
        .program_of_its_own(".core-stack/xtask logs nats")
        .succeeds();
    assert!(logs.stdout.contains("READY"), "{}", logs.stdout);
    clone
        .program_of_its_own(".core-stack/xtask down")
        .succeeds();
    assert!(
        !clone.path(".core-stack/xtask").exists(),
        "it goes with the state"
    );
}

#[test]
fn a_named_instance_has_a_program_that_means_it() {
    let mut sandbox = Sandbox::empty();
    sandbox.range_of_ports();
    let command = json!({"process": {"command": "sleep 1000"}});
    sandbox.service("one", &command);
    let report = sandbox.run("up --json --instance b").succeeds().json();
    let program = ".core-stack/instances/b/xtask";
    same(
        "in the report",
        &report["without_cargo"],
        &json!(sandbox.path(program)),
    );
    let status = sandbox.program_of_its_own(&format!("{program} status --json"));
    same(
        "instance",
        &status.succeeds().json()["instance"],
        &json!("b"),
    );
    sandbox
        .program_of_its_own(&format!("{program} down"))
        .succeeds();
    sandbox.run("status --instance b").ends(3);
}

#[test]
fn a_moved_checkout_works_at_once() {
    let mut clone = Sandbox::clone_of_checkout();
    clone.cargo("xtask up").succeeds();
    let superuser = clone.read(".data/pocketbase/superuser.json");
    clone.cargo("xtask down").succeeds();
    clone.move_to("another place");
    let run = clone.cargo("xtask up").succeeds();
    for word in ["building", "fetching", "installed"] {
        assert!(!run.stderr.contains(word), "{}", run.stderr);
    }
    same(
        "superuser",
        clone.read(".data/pocketbase/superuser.json"),
        superuser,
    );
    clone
        .program_of_its_own(".core-stack/xtask status")
        .succeeds();
    // A change there takes effect there.
    let source = "cmd/caddy/src/main.rs";
    let text = clone.read(source);
    write(&clone, source, &format!("{text}// changed\n"));
    let run = clone.cargo("xtask up").succeeds();
    assert!(run.stderr.contains("installed caddy"), "{}", run.stderr);
    clone.cargo("xtask down").succeeds();
}

#[test]
fn the_next_version_is_merged_as_the_document_says() {
    let mut clone = Sandbox::clone_of_checkout();
    let port = clone.spare_port("mine.http");
    let commit = |clone: &Sandbox, message: &str| {
        clone.git(&["add", "--all"]).succeeds();
        clone
            .git(&["commit", "--quiet", "--message", message])
            .succeeds();
    };
    clone
        .git(&["init", "--quiet", "--initial-branch", "core"])
        .succeeds();
    commit(&clone, "Core");
    clone
        .git(&["switch", "--quiet", "--create", "main"])
        .succeeds();
    clone
        .cargo(&format!("xtask init mine --wrapper --port {port}"))
        .succeeds();
    // The first command updates `Cargo.lock`.
    clone.cargo("xtask render --check").succeeds();
    write(&clone, "README.md", "# Ours\n");
    commit(&clone, "A service of ours");

    // The next version of Core has one more package, and other texts.
    clone.git(&["switch", "--quiet", "core"]).succeeds();
    let package = "[package]\nname = \"next\"\nversion.workspace = true\nedition.workspace = true\n\
                   rust-version.workspace = true\nlicense.workspace = true\n\
                   publish.workspace = true\n";
    write(&clone, "services/next/Cargo.toml", package);
    write(&clone, "services/next/src/lib.rs", "//! New.\n");
    let cargo = clone.read("Cargo.toml");
    let last = "  \"services/controller\",\n";
    assert!(cargo.contains(last), "{cargo}");
    let cargo = cargo.replace(last, &format!("{last}  \"services/next\",\n"));
    write(&clone, "Cargo.toml", &cargo);
    for file in [
        "README.md",
        "CHANGELOG.md",
        "docs/daily.md",
        "services/nats/README.md",
    ] {
        let text = clone.read(file);
        write(&clone, file, &format!("{text}\nNew.\n"));
    }
    clone.cargo("xtask render --check").succeeds();
    commit(&clone, "Core, next");

    clone.git(&["switch", "--quiet", "main"]).succeeds();
    let merge = clone.git(&["merge", "--quiet", "core"]);
    same("conflicts", merge.code, 1);
    let conflicts = clone
        .git(&["diff", "--name-only", "--diff-filter=U"])
        .succeeds();
    let mut files: Vec<&str> = conflicts.stdout.lines().collect();
    files.retain(|file| *file != "Cargo.lock");
    same("files", files, vec!["Cargo.toml", "README.md"]);
    // As in docs/upgrade.md: both sides, theirs and cargo, ours.
    let is_mark = |line: &&str| !line.starts_with(['<', '=', '>']);
    let cargo = clone.read("Cargo.toml");
    let both: Vec<&str> = cargo.lines().filter(is_mark).collect();
    write(&clone, "Cargo.toml", &format!("{}\n", both.join("\n")));
    clone
        .git(&["checkout", "core", "--", "Cargo.lock"])
        .succeeds();
    clone
        .git(&["checkout", "--ours", "--", "README.md"])
        .succeeds();
    clone.cargo("xtask render --check").succeeds();
    commit(&clone, "Take the next version of Core");
    same("ours", clone.read("README.md").as_str(), "# Ours\n");
    let members = clone
        .cargo("metadata --no-deps --format-version 1")
        .succeeds();
    for name in ["service-mine", "\"mine\"", "\"next\""] {
        assert!(members.stdout.contains(name), "{name}");
    }
}
