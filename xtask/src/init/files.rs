//! PURE: the text of every file of a new service.

use super::Kind;

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

/// Texts of one kind of service: the file's path in its directory, and the template.
type Templates = &'static [(&'static str, &'static str)];

/// Returns a template of this directory.
macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("templates/", $path, ".tmpl"))
    };
}

const MANIFEST: Templates = &[
    ("service.json", template!("manifest/service.json")),
    ("README.md", template!("manifest/README.md")),
];

const WRAPPER: Templates = &[
    ("service.json", template!("wrapper/service.json")),
    ("README.md", template!("wrapper/README.md")),
    ("Cargo.toml", template!("wrapper/service-cargo.toml")),
    ("src/lib.rs", template!("wrapper/lib.rs")),
    ("src/run.rs", template!("wrapper/run.rs")),
    ("src/settings.rs", template!("wrapper/settings.rs")),
];

/// The program of a wrapper, in `cmd`.
const PROGRAM: Templates = &[
    ("Cargo.toml", template!("wrapper/cmd-cargo.toml")),
    ("src/main.rs", template!("wrapper/main.rs")),
];

const VITE: Templates = &[
    ("service.json", template!("vite/service.json")),
    ("README.md", template!("vite/README.md")),
    ("package.json", template!("vite/package.json")),
    ("index.html", template!("vite/index.html")),
    ("src/main.js", template!("vite/main.js")),
    ("src/style.css", template!("vite/style.css")),
];

const AXUM: Templates = &[
    ("service.json", template!("axum/service.json")),
    ("README.md", template!("axum/README.md")),
    ("Cargo.toml", template!("axum/cargo.toml")),
    ("src/main.rs", template!("axum/main.rs")),
];

const PYTHON: Templates = &[
    ("service.json", template!("python/service.json")),
    ("README.md", template!("python/README.md")),
    ("requirements.txt", template!("python/requirements.txt")),
    ("worker.py", template!("python/worker.py")),
];

/// Returns the manifest, first, and the other files in the directory of the service.
pub(super) fn service(values: &Values<'_>, kind: Kind) -> Vec<File> {
    let templates = match kind {
        Kind::Manifest => MANIFEST,
        Kind::Wrapper => WRAPPER,
        Kind::Vite => VITE,
        Kind::Axum => AXUM,
        Kind::Python => PYTHON,
    };
    filled("services", templates, values)
}

/// Returns the program of a wrapper.
pub(super) fn program(values: &Values<'_>) -> Vec<File> {
    filled("cmd", PROGRAM, values)
}

fn filled(folder: &str, templates: Templates, values: &Values<'_>) -> Vec<File> {
    let file = |(path, template): &(&str, &str)| {
        let path = format!("{folder}/{}/{path}", values.name);
        (path, fill(template, values))
    };
    templates.iter().map(file).collect()
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
        let kinds = Kind::ALL.iter();
        let mut all: Vec<File> = kinds.flat_map(|kind| service(&values, *kind)).collect();
        all.extend(program(&values));
        for (path, text) in all {
            assert!(!text.contains('@'), "{path}: {text}");
            assert!(text.ends_with('\n'), "{path}");
        }
        assert_eq!(variable("my-service"), "MY_SERVICE");
        assert_eq!(variable("3d"), "_3D");
    }
}
