//! PURE: the text of every file of a new service.

/// A file: its path from the root, and its text.
pub(super) type File = (String, String);

/// The values for the templates.
pub(super) struct Values<'a> {
    pub(super) name: &'a str,
    pub(super) port: u16,
}

/// Returns the name in a variable: `MY_SERVICE`. Names may begin with a digit, variables not.
fn variable(name: &str) -> String {
    let upper = name.to_ascii_uppercase().replace('-', "_");
    if upper.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{upper}")
    } else {
        upper
    }
}

/// Returns the manifest, first, and the other files in the directory of the service.
pub(super) fn service(values: &Values<'_>, wrapper: bool) -> Vec<File> {
    let name = values.name;
    let file =
        |path: &str, template: &str| (format!("services/{name}/{path}"), fill(template, values));
    if !wrapper {
        return vec![
            file(
                "service.json",
                include_str!("templates/manifest/service.json.tmpl"),
            ),
            file(
                "README.md",
                include_str!("templates/manifest/README.md.tmpl"),
            ),
        ];
    }
    vec![
        file(
            "service.json",
            include_str!("templates/wrapper/service.json.tmpl"),
        ),
        file(
            "README.md",
            include_str!("templates/wrapper/README.md.tmpl"),
        ),
        file(
            "Cargo.toml",
            include_str!("templates/wrapper/service-cargo.toml.tmpl"),
        ),
        file("src/lib.rs", include_str!("templates/wrapper/lib.rs.tmpl")),
        file("src/run.rs", include_str!("templates/wrapper/run.rs.tmpl")),
        file(
            "src/settings.rs",
            include_str!("templates/wrapper/settings.rs.tmpl"),
        ),
    ]
}

/// Returns the program of a service in Rust.
pub(super) fn program(values: &Values<'_>) -> Vec<File> {
    let name = values.name;
    let file = |path: &str, template: &str| (format!("cmd/{name}/{path}"), fill(template, values));
    vec![
        file(
            "Cargo.toml",
            include_str!("templates/wrapper/cmd-cargo.toml.tmpl"),
        ),
        file(
            "src/main.rs",
            include_str!("templates/wrapper/main.rs.tmpl"),
        ),
    ]
}

fn fill(template: &str, values: &Values<'_>) -> String {
    template
        .replace("@NAME@", values.name)
        .replace("@IDENTIFIER@", &values.name.replace('-', "_"))
        .replace("@VARIABLE@", &variable(values.name))
        .replace("@PORT@", &values.port.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        let name = "my-service";
        let values = Values { name, port: 9000 };
        let all = [
            service(&values, false),
            service(&values, true),
            program(&values),
        ];
        for (path, text) in all.concat() {
            assert!(!text.contains('@'), "{path}: {text}");
            assert!(text.ends_with('\n'), "{path}");
        }
        assert_eq!(variable("my-service"), "MY_SERVICE");
        assert_eq!(variable("3d"), "_3D");
    }
}
