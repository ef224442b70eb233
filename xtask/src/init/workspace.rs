//! PURE: adds the packages of a service to the text of the workspace's `Cargo.toml`.
//!
//! Owns the edit, which keeps every other byte, and the check of its result.

use toml::{Table, Value};

/// Returns the text with these directories as members, and `library` among the dependencies, if it
/// has one. Returns `None` when the file has another format than ours.
pub(super) fn add(text: &str, packages: &[String], library: Option<&str>) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for package in packages {
        let begin = lines.iter().position(|line| line.trim() == "members = [")?;
        let end = begin + lines[begin..].iter().position(|line| line.trim() == "]")?;
        let folder = package.split('/').next().unwrap_or_default();
        let within = |line: &String| line.trim().starts_with(&format!("\"{folder}/"));
        let last = lines[begin..end].iter().rposition(within);
        let at = last.map_or(end, |index| begin + index + 1);
        lines.insert(at, format!("  \"{package}\","));
    }
    if let Some(name) = library {
        let heading = "[workspace.dependencies]";
        let heading = lines.iter().position(|line| line.trim() == heading)?;
        let section = lines[heading + 1..].iter();
        let length = section
            .clone()
            .position(|line| line.starts_with('['))
            .unwrap_or(lines.len() - heading - 1);
        let own = |line: &&String| line.starts_with("service-");
        let section: Vec<&String> = section.take(length).collect();
        let at = section.iter().rposition(own);
        let at = heading + 1 + at.map_or(0, |index| index + 1);
        let line = format!("service-{name} = {{ path = \"services/{name}\" }}");
        lines.insert(at, line);
    }
    let new = lines.join("\n") + "\n";
    says(text, &new, packages, library).then_some(new)
}

/// Whether the new text has the content of the old one, and the packages.
fn says(old: &str, new: &str, packages: &[String], library: Option<&str>) -> bool {
    let (Ok(mut wanted), Ok(new)) = (old.parse::<Table>(), new.parse::<Table>()) else {
        return false;
    };
    let add = |wanted: &mut Table| -> Option<()> {
        let workspace = wanted.get_mut("workspace")?.as_table_mut()?;
        let members = workspace.get_mut("members")?.as_array_mut()?;
        members.extend(packages.iter().cloned().map(Value::String));
        let Some(name) = library else {
            return Some(());
        };
        let dependencies = workspace.get_mut("dependencies")?.as_table_mut()?;
        let mut path = Table::new();
        path.insert("path".to_owned(), Value::String(format!("services/{name}")));
        let previous = dependencies.insert(format!("service-{name}"), Value::Table(path));
        previous.is_none().then_some(())
    };
    if add(&mut wanted).is_none() {
        return false;
    }
    sorted(wanted) == sorted(new)
}

/// Sorts the members, whose order has no meaning.
fn sorted(mut manifest: Table) -> Table {
    let workspace = manifest.get_mut("workspace").and_then(Value::as_table_mut);
    let members = workspace.and_then(|workspace| workspace.get_mut("members")?.as_array_mut());
    if let Some(members) = members {
        members.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    manifest
}

/// Returns the names of all packages in `Cargo.lock`.
pub(super) fn packages(lock: &str) -> Vec<String> {
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = "));
    names
        .map(|name| name.trim_matches('"').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const TEXT: &str = "\
[workspace]
# Why.
members = [
  \"xtask\",
  \"services/kit\",
  \"cmd/probe\",
]

[workspace.dependencies]
kit = { path = \"services/kit\" }
service-a = { path = \"services/a\" }

clap = \"4\"

[profile.dev]
debug = false
";

    /// Adds the packages of a wrapper.
    fn wrapper(text: &str, name: &str) -> Option<String> {
        let packages = ["services", "cmd"].map(|folder| format!("{folder}/{name}"));
        add(text, &packages, Some(name))
    }

    #[test]
    fn packages_are_added_where_their_like_is() {
        expect![[r#"
            [workspace]
            # Why.
            members = [
              "xtask",
              "services/kit",
              "services/my-one",
              "cmd/probe",
              "cmd/my-one",
            ]

            [workspace.dependencies]
            kit = { path = "services/kit" }
            service-a = { path = "services/a" }
            service-my-one = { path = "services/my-one" }

            clap = "4"

            [profile.dev]
            debug = false
        "#]]
        .assert_eq(&wrapper(TEXT, "my-one").unwrap());
        let api = add(TEXT, &["services/api".to_owned()], None).unwrap();
        let with_api = TEXT.replace(
            "services/kit\",\n",
            "services/kit\",\n  \"services/api\",\n",
        );
        assert_eq!(api, with_api);
    }

    #[test]
    fn this_workspace_can_be_added_to() {
        let text = include_str!("../../../Cargo.toml");
        let new = wrapper(text, "my-one").unwrap();
        assert_eq!(new.lines().count(), text.lines().count() + 3);
    }

    #[test]
    fn another_form_is_left_alone() {
        for text in [
            "",
            "[workspace]\nmembers = [\"a\"]\n",
            &TEXT.replace("  \"cmd/probe\",", "  \"cmd/probe\""),
            &TEXT.replace("[workspace.dependencies]", "[workspace.other]"),
        ] {
            assert_eq!(wrapper(text, "my-one"), None, "{text}");
        }
        assert_eq!(wrapper(TEXT, "a"), None, "its library is there already");
    }
}
