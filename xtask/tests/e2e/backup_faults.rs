//! Data that a restore must not touch, and archives that it must not accept.

use std::fs;
use std::io::{Read as _, Write as _};

use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::backup::{JOURNAL, filled, notes, write_note};
use crate::harness::{SOON, eventually, same};

/// Every name that a restore of the next minute could choose by the clock alone exists. All seconds
/// of a minute, not a second restore within the same second: that would be a race.
#[test]
fn no_restore_touches_what_another_one_kept() {
    let (sandbox, file) = filled();
    let now = jiff::Timestamp::now();
    let taken = (0..60).flat_map(|seconds| {
        let time = now + jiff::SignedDuration::from_secs(seconds);
        let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        ["replaced", "discarded"].map(|what| format!(".data/{what}-{time}"))
    });
    let taken: Vec<String> = taken.collect();
    for name in &taken {
        let pocketbase = sandbox.path(name).join("pocketbase");
        fs::create_dir_all(pocketbase.join("pb_data")).unwrap();
        for file in ["pb_data/of_another", "superuser.json"] {
            fs::write(pocketbase.join(file), "of another").unwrap();
        }
    }
    let others_are_whole = || {
        for name in &taken {
            let pocketbase = sandbox.path(name).join("pocketbase");
            for file in ["pb_data/of_another", "superuser.json"] {
                let text = fs::read_to_string(pocketbase.join(file)).unwrap();
                same(name, text.as_str(), "of another");
            }
            same(name, fs::read_dir(sandbox.path(name)).unwrap().count(), 1);
            same(name, fs::read_dir(pocketbase).unwrap().count(), 2);
        }
    };
    let line = format!("restore {file} --replace");
    write_note(&sandbox, "second");
    let exchanged = || {
        let journal = fs::read(sandbox.path(JOURNAL)).ok()?;
        let journal: Value = serde_json::from_slice(&journal).ok()?;
        let kept = format!(".data/replaced-{}", journal["id"].as_str()?);
        sandbox
            .path(&format!("{kept}/pocketbase/pb_data"))
            .exists()
            .then_some(())
    };
    // Twice, as the second one has to handle what the first one left.
    for _ in 0..2 {
        let restore = sandbox.start(&line);
        eventually("the exchange", SOON, exchanged);
        restore.signal(Signal::KILL);
        restore.wait().killed();
        sandbox.up();
        same("notes", notes(&sandbox).as_array().unwrap().len(), 2);
        others_are_whole();
    }
    let done = sandbox.run(&format!("{line} --json")).succeeds().json();
    same("notes", notes(&sandbox).as_array().unwrap().len(), 1);
    let again = sandbox.run(&format!("{line} --json")).succeeds().json();
    assert_ne!(done["replaced"], again["replaced"]);
    for report in [done, again] {
        let replaced = report["replaced"].as_str().unwrap();
        let kept = std::path::Path::new(replaced).join("pocketbase/pb_data/data.db");
        assert!(kept.exists(), "{replaced}");
    }
    others_are_whole();
}

/// Returns the archive with other bytes for the database, and without their unpacked size: an
/// attacker could send it as a backup of an older Core.
fn forged(archive: &[u8], database: &[u8]) -> Vec<u8> {
    let mut entries = Vec::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        entries.push((path, bytes));
    }
    let digest = |bytes: &[u8]| {
        let digest = sha2::Sha256::digest(bytes);
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let mut manifest: Value = serde_json::from_slice(&entries[0].1).unwrap();
    manifest["database"]
        .as_object_mut()
        .unwrap()
        .remove("unpacked")
        .unwrap();
    let listed = &mut manifest["entries"][0];
    same("the first entry", &listed["path"], &json!("pocketbase.zip"));
    listed["size"] = json!(database.len());
    listed["sha256"] = json!(digest(database));
    entries[0].1 = serde_json::to_vec(&manifest).unwrap();
    entries[1].1 = database.to_vec();
    entries.pop();
    let append = |tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, path, bytes).unwrap();
    };
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in &entries {
        append(&mut tar, path, bytes);
    }
    let line = format!("sha256 {}\n", digest(tar.get_ref()));
    append(&mut tar, "checksum", line.as_bytes());
    tar.into_inner().unwrap()
}

/// Returns a zip archive of a database of zeros.
fn zeros(megabytes: usize) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("data.db", options).unwrap();
    let megabyte = vec![0; 1_000_000];
    for _ in 0..megabytes {
        zip.write_all(&megabyte).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn what_is_no_backup_is_refused_at_once_and_changes_nothing() {
    let (sandbox, file) = filled();
    let good = fs::read(&file).unwrap();
    let pipe = sandbox.path("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    let staged = sandbox.path(".data/pocketbase/staged");
    let refused = |name: &str| {
        let run = sandbox.run(&format!("restore {name} --replace")).ends(10);
        assert!(run.stderr.contains("hint: "), "{name}: {}", run.stderr);
        assert!(!staged.exists(), "{name}");
        assert!(!sandbox.path(JOURNAL).exists(), "{name}");
        run.stderr
    };
    // A pipe without a writer, and other paths that are no file.
    for name in ["pipe", ".data", "/dev/zero", "none"] {
        refused(name);
    }
    let bomb = zeros(600);
    assert!(bomb.len() < 1_000_000, "{} bytes", bomb.len());
    for (name, database, because) in [
        ("bomb", &bomb[..], "times as many"),
        (
            "no-zip",
            &b"PK\x03\x04 and no more"[..],
            "cannot be unpacked",
        ),
        ("half", &bomb[..bomb.len() / 2], "cannot be unpacked"),
        ("no-database", &zeros(1)[..], "damaged"),
    ] {
        fs::write(sandbox.path(name), forged(&good, database)).unwrap();
        let told = refused(name);
        assert!(told.contains(because), "{name}: {told}");
    }
    same("notes", notes(&sandbox).as_array().unwrap().len(), 1);
    // The archive of a Core that did not record the unpacked size of its database.
    let mut archive = tar::Archive::new(&good[..]);
    let mut bytes = Vec::new();
    let mut entries = archive.entries().unwrap();
    let mut entry = entries.nth(1).unwrap().unwrap();
    entry.read_to_end(&mut bytes).unwrap();
    fs::write(sandbox.path("older"), forged(&good, &bytes)).unwrap();
    sandbox.run("restore older --replace").succeeds();
    same("notes", notes(&sandbox).as_array().unwrap().len(), 1);
}
