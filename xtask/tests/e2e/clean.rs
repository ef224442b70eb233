//! Deletes generated files: by level, never more, never under a running stack.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use expect_test::expect;
use kit::Exit;
use kit::files::FileLock;
use serde_json::json;

use crate::harness::{Sandbox, fake_program, same};

/// Returns a sandbox with its own data, state and binaries, and with links that lead out of it.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::empty();
    let outside = sandbox.root().with_file_name("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    fs::remove_file(sandbox.path(".dep")).unwrap();
    for (file, text) in [
        (".data/one/db", "12345"),
        (".data/two/db", "123"),
        (".core-stack/logs/one.log", "1234567"),
        (".core-stack/down.lock", ""),
        (".dep/one", "12"),
        (".dep/.records/one.json", "1"),
        (".dep/.locks/one", ""),
    ] {
        let path = sandbox.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    for folder in [".data", ".data/one", ".core-stack", ".dep"] {
        symlink(&outside, sandbox.path(&format!("{folder}/link"))).unwrap();
    }
    sandbox
}

fn outside_is_whole(sandbox: &Sandbox) {
    let precious = sandbox.root().with_file_name("outside").join("precious");
    same(
        "outside",
        fs::read_to_string(precious).unwrap().as_str(),
        "x",
    );
}

fn names(sandbox: &Sandbox, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(sandbox.path(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn without_a_level_it_only_says_what_there_is() {
    let sandbox = sandbox();
    let document = sandbox.run("clean --json").succeeds().json();
    same("deleted", &document["deleted"], &json!(false));
    let link = sandbox.root().with_file_name("outside").as_os_str().len();
    let data = &document["levels"][2];
    same("level", &data["level"], &json!("data"));
    let entries = json!({"link": link, "one": 5 + link, "two": 3});
    same("by service", &data["entries"], &entries);
    let run = sandbox.run("clean").succeeds();
    let total = format!(" {} bytes  .data: ", 8 + 2 * link);
    assert!(run.stdout.contains(&total), "{}", run.stdout);
    assert!(
        run.stdout.contains(" 3 bytes  .data/two\n"),
        "{}",
        run.stdout
    );
    same(
        "nothing is gone",
        names(&sandbox, ".data"),
        vec!["link".into(), "one".into(), "two".into()],
    );
}

#[test]
fn each_level_goes_alone_and_no_link_is_followed() {
    let sandbox = sandbox();
    let run = sandbox.run("clean --state").succeeds();
    same("stdout", run.stdout.as_str(), "");
    let locks = ["alive.lock", "down.lock", "operation.lock"].map(str::to_owned);
    same("state", names(&sandbox, ".core-stack"), locks.to_vec());
    same("binaries", names(&sandbox, ".dep").len(), 4);

    sandbox.run("clean --dep").succeeds();
    same(
        "binaries",
        names(&sandbox, ".dep"),
        vec![".locks".to_owned()],
    );
    same("data", names(&sandbox, ".data").len(), 3);

    let asked = sandbox.run("clean --data").ends(Exit::Usage.code());
    expect![[r"
        error: cannot ask whether the data is to be deleted: there is no terminal
        hint: say `--yes` to delete it without being asked"]]
    .assert_eq(&sandbox.normal(&asked.stderr));
    same("data", names(&sandbox, ".data").len(), 3);

    let document = sandbox.run("clean --data --yes --json").succeeds().json();
    same("deleted", &document["deleted"], &json!(true));
    same("data", names(&sandbox, ".data"), Vec::new());
    outside_is_whole(&sandbox);
    // Missing files are no error.
    sandbox.run("clean --state --dep --data --yes").succeeds();
}

#[test]
fn the_store_of_the_user_is_a_level_of_its_own() {
    let sandbox = sandbox();
    let cache = sandbox.root().with_file_name("home").join(".cache");
    let store = cache.join("core-stack/binaries");
    let digest = "a".repeat(64);
    let pin = json!({
        "version": "1.0.0",
        "source": "archive",
        "sha256": digest,
        "stamp": {"size_bytes": 5, "mtime_ns": 0, "inode": 0},
        "origin": null,
        "build": null,
    });
    for (file, text) in [
        (format!("objects/{digest}"), "12345".to_owned()),
        ("pins/tool-1.0.0.json".to_owned(), pin.to_string()),
        ("of-the-user".to_owned(), String::new()),
    ] {
        let path = store.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let expected = json!({
        "level": "store",
        "path": store,
        "bytes": 5,
        "entries": {"tool-1.0.0": 5},
    });
    let document = sandbox.run("clean --json").succeeds().json();
    same("told", &document["levels"][3], &expected);
    let document = sandbox.run("clean --store --json").succeeds().json();
    same("deleted", &document["levels"], &json!([expected]));
    let mut left: Vec<_> = fs::read_dir(&store).unwrap().flatten().collect();
    left.sort_by_key(fs::DirEntry::file_name);
    let left: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
    same("left", left, vec!["lock".into(), "of-the-user".into()]);
    same("binaries", names(&sandbox, ".dep").len(), 4);
}

#[test]
fn data_goes_when_the_word_is_typed_and_only_then() {
    let sandbox = sandbox();
    for (typed, exit, left) in [("yes\n", 2, 3), ("\x04", 2, 3), ("delete\n", 0, 0)] {
        let (mut running, mut keyboard) = sandbox.start_at_terminal("clean --data");
        running.wait_for_stderr("type `delete` to go on");
        keyboard.write_all(typed.as_bytes()).unwrap();
        let run = running.wait().ends(exit);
        same("stdout", run.stdout.as_str(), "");
        assert!(
            run.stderr.contains(" 3 bytes  .data/two\n"),
            "{}",
            run.stderr
        );
        same(typed, names(&sandbox, ".data").len(), left);
    }
    outside_is_whole(&sandbox);
}

#[test]
fn what_is_in_use_stays() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("one", &json!({"process": {"command": fake_program()}}));
    sandbox.up();
    for level in ["--state", "--data --yes", "--state --data --yes"] {
        let run = sandbox
            .run(&format!("clean {level}"))
            .ends(Exit::Locked.code());
        expect![[r"
            error: cannot clean up: the stack runs
            hint: cargo xtask down"]]
        .assert_eq(&sandbox.normal(&run.stderr));
    }
    sandbox.run("clean").succeeds();
    sandbox.run("status").succeeds();
    sandbox.down();

    // The binaries are a link to the checkout's.
    let run = sandbox.run("clean --dep").ends(Exit::Invalid.code());
    expect![[r"
        error: `ROOT/.dep` is a link, which is not followed
        hint: delete what it leads to yourself, or the link"]]
    .assert_eq(&sandbox.normal(&run.stderr));

    // A service that runs alone holds the lock of its data.
    let data = sandbox.path(".data/one");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("db"), "x").unwrap();
    let lock = FileLock::try_exclusive(&data.join(".lock")).unwrap();
    let run = sandbox.run("clean --data --yes").ends(Exit::Locked.code());
    expect![[r"
        error: cannot delete what is in use: `.data/one/.lock` is held
        hint: end the command or the service that uses it, then run this again"]]
    .assert_eq(&sandbox.normal(&run.stderr));
    same("data", sandbox.read(".data/one/db").as_str(), "x");
    drop(lock);
    sandbox.run("clean --data --yes").succeeds();
    same("data", names(&sandbox, ".data"), Vec::new());

    // So does another command.
    let lock = FileLock::try_exclusive(&sandbox.path(".core-stack/operation.lock")).unwrap();
    sandbox
        .run("clean --state --no-wait")
        .ends(Exit::Locked.code());
    drop(lock);
}

#[test]
fn binaries_that_another_instance_runs_stay() {
    let sandbox = sandbox();
    let state = sandbox.path(".core-stack/instances/b");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("operation.lock"), "").unwrap();
    let lives = FileLock::try_exclusive(&state.join("alive.lock")).unwrap();
    let run = sandbox.run("clean --dep").ends(Exit::Locked.code());
    let hint = "hint: cargo xtask down --instance b";
    assert!(run.stderr.contains(hint), "{}", run.stderr);
    assert!(sandbox.path(".dep/one").exists());
    drop(lives);
    sandbox.run("clean --dep --state").succeeds();
    assert!(!sandbox.path(".dep/one").exists());
    assert!(
        state.join("alive.lock").exists(),
        "it is not the default one's"
    );
}
