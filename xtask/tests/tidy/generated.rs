//! Generated files that are committed are up to date, and their sources are mentioned where a
//! reader looks for them.

use std::collections::BTreeSet;
use std::process::Command;

use kit::Exit;
use serde_json::Value;
use xtask::doctor::Id;

use crate::{Findings, own, read, root, text_files};

/// Runs the xtask under test in this checkout.
fn xtask(arguments: &[&str]) -> std::process::Output {
    Command::new(own::xtask_program())
        .args(arguments)
        .env("CORE_ROOT", root())
        .output()
        .expect("xtask can be run")
}

/// Returns the commands that `cargo xtask --help` lists.
fn commands() -> BTreeSet<String> {
    let output = xtask(&["--help"]);
    let help = String::from_utf8(output.stdout).expect("the help is UTF-8");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: BTreeSet<String> = listed
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    assert!(names.contains("up"), "no commands in the help:\n{help}");
    names
}

#[test]
fn generated_files_are_up_to_date() {
    let mut findings = Findings::default();
    for command in ["schema", "docs"] {
        let output = xtask(&[command, "--check"]);
        if !output.status.success() {
            findings.add(command, String::from_utf8_lossy(&output.stderr));
        }
    }
    findings.finish();
}

#[test]
fn every_command_is_documented_and_every_documented_one_exists() {
    let mut findings = Findings::default();
    let commands = commands();
    let reference = read("docs/cli.md").text;
    for name in commands.iter().filter(|name| *name != "help") {
        let heading = format!("\n## `cargo xtask {name}");
        let is_there = |end: &str| reference.contains(&format!("{heading}{end}"));
        if !is_there("`\n") && !is_there(" ") {
            findings.add(
                "docs/cli.md",
                format!("has no heading `cargo xtask {name}`"),
            );
        }
    }
    let mut known: BTreeSet<String> = own::SERVICES.iter().map(ToString::to_string).collect();
    known.extend(commands);
    // The example of README.md and docs/manifest.md.
    known.insert("hello".to_owned());
    for file in text_files().iter().filter(|file| file.has_extension("md")) {
        for (number, line) in file.lines() {
            for rest in line.split("cargo xtask ").skip(1) {
                let word: String = rest.chars().take_while(|c| is_word(*c)).collect();
                // Capitals are placeholders for a name, an option or no command at all.
                let stands_for_itself = word.starts_with(|c: char| c.is_ascii_lowercase());
                if stands_for_itself && !known.contains(&word) {
                    findings.add(
                        format!("{}:{number}", file.path),
                        format!("`cargo xtask {word}` is no command"),
                    );
                }
            }
        }
    }
    findings.finish();
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '-' || char == '_'
}

#[test]
fn every_exit_code_is_explained() {
    let mut findings = Findings::default();
    let text = read("docs/troubleshooting.md").text;
    for exit in Exit::ALL {
        let heading = format!("\n### {}: ", exit.code());
        if !text.contains(&heading) {
            findings.add(
                "docs/troubleshooting.md",
                format!("has no heading `### {}: ...` ({exit:?})", exit.code()),
            );
        }
    }
    findings.finish();
}

#[test]
fn every_check_of_doctor_is_explained_and_every_explained_one_exists() {
    let mut findings = Findings::default();
    let document = read("docs/doctor.md");
    let explained: BTreeSet<&str> = document
        .lines()
        .filter_map(|(_, line)| line.strip_prefix("### "))
        .collect();
    let known = Id::ALL.map(Id::name);
    let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    for name in known.difference(&explained) {
        findings.add("docs/doctor.md", format!("has no heading `### {name}`"));
    }
    for name in explained.difference(&known) {
        findings.add("docs/doctor.md", format!("`{name}` is no check"));
    }
    for id in Id::ALL {
        let row = format!("| [{id}](#{id}) | {} |", id.exit().code());
        if !document.text.contains(&row) {
            findings.add(
                "docs/doctor.md",
                format!("has no line that begins with `{row}`"),
            );
        }
    }
    findings.finish();
}

#[test]
fn every_key_of_a_manifest_is_explained() {
    let mut findings = Findings::default();
    let schema: Value =
        serde_json::from_str(&read("docs/service.schema.json").text).expect("the schema is JSON");
    let mut names = BTreeSet::new();
    collect_names(&schema, &mut names);
    assert!(names.contains("readiness_probe"), "{names:?}");
    let text = read("docs/manifest.md").text;
    for name in names {
        if !text.contains(&format!("`{name}`")) {
            findings.add("docs/manifest.md", format!("does not mention `{name}`"));
        }
    }
    findings.finish();
}

/// Collects keys, and values where only certain ones are allowed.
fn collect_names(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                names.extend(properties.keys().cloned());
            }
            if let Some(Value::String(value)) = object.get("const") {
                names.insert(value.clone());
            }
            object
                .values()
                .for_each(|value| collect_names(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        _ => {}
    }
}

#[test]
fn every_variable_is_explained() {
    let mut findings = Findings::default();
    let text = read("docs/configuration.md").text;
    for file in text_files() {
        let own = file.is_product();
        let manifest = file.path.starts_with("services/") && file.path.ends_with("service.json");
        let marker = match (own, manifest) {
            (true, _) => "\"CORE_",
            (_, true) => "${env.",
            _ => continue,
        };
        for (number, line) in file.lines() {
            for rest in line.split(marker).skip(1) {
                let tail: String = rest.chars().take_while(|c| is_word(*c)).collect();
                let name = format!("{}{tail}", marker.trim_start_matches(['"', '$', '{']));
                let name = name.trim_start_matches("env.").trim_end_matches('_');
                if !text.contains(name) {
                    findings.add(
                        format!("{}:{number}", file.path),
                        format!("docs/configuration.md does not mention `{name}`"),
                    );
                }
            }
        }
    }
    findings.finish();
}
