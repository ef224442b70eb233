//! Each kind of input of a build is changed in a small workspace: what runs is never stale, and
//! cargo is not called when nothing has changed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

const MAIN: &str = r#"
mod part;
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (version, text) = (env!("CARGO_PKG_VERSION"), include_str!("text").trim());
    let (checked, flag) = (cfg!(debug_assertions), cfg!(flag));
    println!("main {} {} {version} {text} {checked} {flag} {arguments:?}", part::IT, below::IT);
}
"#;
/// Where the launcher keeps what it knows.
const STAMP: &str = "target/debug/.xtask-inputs";
/// What it prints.
const FIRST: &str = "main part below 0.1.0 text true false [\"a b\"]";

struct Checkout {
    dir: TempDir,
    /// Variables of every call.
    variables: Vec<(String, String)>,
}

impl Checkout {
    /// A workspace with the same layout and alias as this one, inside a directory.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let new = Self {
            dir,
            variables: Vec::new(),
        };
        let package = |name: &str, more: &str| {
            format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2024'\n{more}")
        };
        let members = "[workspace]\nresolver = '3'\nmembers = ['xtask', 'xtask/launcher']\n";
        new.write("Cargo.toml", members);
        let below = "[dependencies]\nbelow.path = '../below'\n";
        new.write("xtask/Cargo.toml", &package("xtask", below));
        new.write("xtask/src/main.rs", MAIN);
        new.write("xtask/src/part.rs", "pub const IT: &str = \"part\";\n");
        new.write("xtask/src/text", "text\n");
        new.write("below/Cargo.toml", &package("below", ""));
        new.write("below/src/lib.rs", "pub const IT: &str = \"below\";\n");
        new.write("xtask/launcher/Cargo.toml", &package("launcher", ""));
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        for file in fs::read_dir(own.join("src")).unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            let text = fs::read_to_string(file.path()).unwrap();
            new.write(&format!("xtask/launcher/src/{name}"), &text);
        }
        let config = fs::read_to_string(own.join("../../.cargo/config.toml")).unwrap();
        new.write(".cargo/config.toml", &config);
        let script = "#!/bin/sh\necho called >> \"$CALLS\"\nexec \"$REAL\" \"$@\"\n";
        new.program("../cargo", script);
        new
    }

    /// One whose program is built and fresh.
    fn built() -> Self {
        let new = Self::new();
        assert_eq!(new.alias("."), FIRST);
        // The cargo of these tests is another one.
        new.is_built_again(FIRST);
        new
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join("checkout").join(file)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn program(&self, file: &str, text: &str) -> String {
        self.write(file, text);
        let path = self.path(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{text}");
        self.write(file, &text.replace(from, to));
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let is_kept = ["CARGO_HOME", "CARGO_NET_OFFLINE"].contains(&&*text);
            if text.starts_with("CARGO") && !is_kept {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(self.path("."))
            .envs(self.variables.clone())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    /// Runs `cargo xtask` in a directory and returns what it prints.
    fn alias(&self, directory: &str) -> String {
        let mut command = self.command(cargo());
        printed(
            command
                .args(["xtask", "a b"])
                .current_dir(self.path(directory)),
        )
    }

    /// A call of the launcher as cargo makes it, with a cargo that notes its calls.
    fn launcher(&self) -> Command {
        let mut command = self.command(self.path("target/debug/launcher"));
        command
            .arg("a b")
            .env("CARGO_MANIFEST_DIR", self.path("xtask/launcher"))
            .env("CARGO", self.path("../cargo"))
            .env("CALLS", self.path("../calls"))
            .env("REAL", cargo());
        command
    }

    /// Returns what the launcher prints, and how often it called cargo.
    fn runs(&self) -> (String, usize) {
        let printed = printed(&mut self.launcher());
        let calls = fs::read_to_string(self.path("../calls")).unwrap_or_default();
        _ = fs::remove_file(self.path("../calls"));
        (printed, calls.lines().count())
    }

    /// Asserts that cargo is called, that the program prints `expected`, and that it is fresh then.
    #[track_caller]
    fn is_built_again(&self, expected: &str) {
        let (printed, calls) = self.runs();
        assert_eq!(printed, expected);
        assert!(calls > 0);
        assert_eq!(self.runs(), (expected.to_owned(), 0));
    }

    /// The same for a build that is never taken for fresh.
    #[track_caller]
    fn is_never_fresh(&self, expected: &str) {
        for _ in 0..2 {
            let (printed, calls) = self.runs();
            assert_eq!(printed, expected);
            assert!(calls > 0);
        }
    }
}

fn cargo() -> PathBuf {
    env::var_os("CARGO").expect("cargo runs this test").into()
}

#[track_caller]
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim_end().to_owned()
}

#[test]
fn sources_and_manifests() {
    let checkout = Checkout::built();
    checkout.replace("xtask/src/main.rs", "main {}", "niam {}");
    checkout.is_built_again(&FIRST.replace("main", "niam"));
    checkout.replace("xtask/src/main.rs", "niam {}", "main {}");
    checkout.is_built_again(FIRST);

    checkout.write("xtask/src/text", "other\n");
    checkout.is_built_again(&FIRST.replace("text", "other"));
    checkout.write("xtask/src/text", "text\n");

    fs::remove_file(checkout.path("xtask/src/part.rs")).unwrap();
    checkout.write("xtask/src/part/mod.rs", "pub const IT: &str = \"moved\";\n");
    checkout.is_built_again(&FIRST.replace("part", "moved"));
    checkout.write("xtask/src/part/mod.rs", "pub const IT: &str = \"part\";\n");

    checkout.write("below/src/lib.rs", "pub const IT: &str = \"lower\";\n");
    checkout.is_built_again(&FIRST.replace("below", "lower"));
    checkout.write("below/src/lib.rs", "pub const IT: &str = \"below\";\n");

    checkout.replace("xtask/Cargo.toml", "0.1.0", "0.2.0");
    checkout.is_built_again(&FIRST.replace("0.1.0", "0.2.0"));
    checkout.replace("xtask/Cargo.toml", "0.2.0", "0.1.0");

    let workspace = fs::read_to_string(checkout.path("Cargo.toml")).unwrap();
    let profile = "[profile.dev]\ndebug-assertions = false\n";
    checkout.write("Cargo.toml", &format!("{workspace}{profile}"));
    checkout.is_built_again(&FIRST.replace("true", "false"));
    let more = workspace.replace("['xtask',", "['below', 'xtask',");
    checkout.write("Cargo.toml", &more);
    checkout.is_built_again(FIRST);

    let lock = fs::read_to_string(checkout.path("Cargo.lock")).unwrap();
    checkout.write("Cargo.lock", &lock);
    checkout.is_built_again(FIRST);
}

#[test]
fn configuration_toolchain_and_variables() {
    let mut checkout = Checkout::built();
    let flagged = FIRST.replace("true false", "true true");
    let flags = "[build]\nrustflags = ['--cfg', 'flag', '--check-cfg', 'cfg(flag)']\n";
    let own = fs::read_to_string(checkout.path(".cargo/config.toml")).unwrap();
    checkout.write(".cargo/config.toml", &format!("{own}{flags}"));
    checkout.is_built_again(&flagged);
    checkout.write(".cargo/config.toml", &own);
    checkout.is_built_again(FIRST);

    checkout.write("../.cargo/config.toml", flags);
    checkout.is_built_again(&flagged);
    fs::remove_file(checkout.path("../.cargo/config.toml")).unwrap();
    checkout.is_built_again(FIRST);

    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let home = checkout.path("../cargo-home");
    fs::create_dir(&home).unwrap();
    checkout
        .variables
        .push(variable("CARGO_HOME", home.to_str().unwrap()));
    checkout.write("../cargo-home/config.toml", flags);
    checkout.is_built_again(&flagged);
    checkout.write("../cargo-home/config.toml", "");
    checkout.is_built_again(FIRST);

    // Sources from elsewhere instead of those of a package; then a change of them.
    let manifest = fs::read_to_string(checkout.path("below/Cargo.toml")).unwrap();
    checkout.write("../other/Cargo.toml", &manifest);
    checkout.write("../other/src/lib.rs", "pub const IT: &str = \"other\";\n");
    let other = checkout.path("../other");
    let paths = format!("paths = ['{}']\n", other.display());
    checkout.write("../cargo-home/config.toml", &paths);
    checkout.is_built_again(&FIRST.replace("below", "other"));
    checkout.write("../other/src/lib.rs", "pub const IT: &str = \"third\";\n");
    checkout.is_built_again(&FIRST.replace("below", "third"));
    checkout.write("../cargo-home/config.toml", "");

    checkout.variables.push(variable("RUSTFLAGS", "--cfg flag"));
    checkout.is_built_again(&flagged);
    checkout.variables.pop();
    checkout.is_built_again(FIRST);

    let rustc = cargo().with_file_name("rustc");
    let wrapper = "#!/bin/sh\nexec \"$@\"\n";
    let wrapper = checkout.program("../wrapper", wrapper);
    let wrapper = variable("RUSTC_WRAPPER", &wrapper);
    checkout.variables.push(wrapper);
    checkout.is_built_again(FIRST);
    checkout.variables.pop();

    let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", rustc.display());
    let compiler = checkout.program("../compiler", &script);
    checkout.variables.push(variable("RUSTC", &compiler));
    checkout.is_built_again(FIRST);
    let flag = format!("#!/bin/sh\nexec '{}' \"$@\" # new\n", rustc.display());
    checkout.program("../compiler", &flag);
    checkout.is_built_again(FIRST);
}

#[test]
fn what_is_not_understood_calls_cargo() {
    let mut checkout = Checkout::built();
    checkout.write(STAMP, "damaged");
    checkout.is_built_again(FIRST);
    let program = checkout.path("target/debug/xtask");
    let other = checkout.program("../other", "#!/bin/sh\nexit 3\n");
    fs::rename(other, &program).unwrap();
    checkout.is_built_again(FIRST);
    fs::remove_file(program).unwrap();
    checkout.is_built_again(FIRST);

    let always = ("CORE_ALWAYS_CARGO".to_owned(), "1".to_owned());
    checkout.variables.push(always);
    checkout.is_never_fresh(FIRST);
    checkout.variables.pop();

    checkout.write("../.cargo/config.toml", "include = []\n");
    checkout.is_never_fresh(FIRST);
    fs::remove_file(checkout.path("../.cargo/config.toml")).unwrap();

    let script = "fn main() { println!(\"cargo::rerun-if-changed=file\"); }\n";
    checkout.write("below/build.rs", script);
    checkout.is_never_fresh(FIRST);
    fs::remove_file(checkout.path("below/build.rs")).unwrap();

    let source = "pub const IT: &str = match option_env!(\"NAME\") {\n    \
        Some(name) => name,\n    None => \"below\",\n};\n";
    checkout.write("below/src/lib.rs", source);
    checkout.is_never_fresh(FIRST);
    let name = ("NAME".to_owned(), "named".to_owned());
    checkout.variables.push(name);
    checkout.is_never_fresh(&FIRST.replace("below", "named"));
}

#[test]
fn a_file_that_changes_while_it_is_compiled() {
    let mut checkout = Checkout::built();
    // It changes the text once, after rustc has read it.
    let wrapper = format!(
        "#!/bin/sh\n\"$@\"; code=$?\n\
        case \"$*\" in *'--crate-name xtask'*) rm '{0}.once' && echo third > '{0}';; esac\n\
        exit $code\n",
        checkout.path("xtask/src/text").display()
    );
    let wrapper = checkout.program("../wrapper", &wrapper);
    let wrapper = ("RUSTC_WRAPPER".to_owned(), wrapper);
    checkout.variables.push(wrapper);
    checkout.write("xtask/src/text", "second\n");
    checkout.write("xtask/src/text.once", "");
    let third = FIRST.replace("text", "third");
    assert_eq!(checkout.runs().0, third);
    checkout.is_built_again(&third);
}

#[test]
fn many_at_once_while_cargo_replaces_the_program() {
    let checkout = Checkout::built();
    for round in 0..3 {
        let text = format!("round{round}");
        checkout.write("xtask/src/text", &text);
        let launch = |_| checkout.launcher().spawn().unwrap();
        let all: Vec<_> = (0..8).map(launch).collect();
        for child in all {
            let output = child.wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}");
            let printed = String::from_utf8(output.stdout).unwrap();
            assert_eq!(printed.trim_end(), FIRST.replace("text", &text));
        }
    }
}

#[test]
fn errors_of_a_build_are_cargos() {
    let checkout = Checkout::built();
    checkout.replace("xtask/src/main.rs", "fn main", "fn main fn");
    let output = checkout.launcher().output().unwrap();
    assert_eq!(output.status.code(), Some(101));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("could not compile"), "{errors}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn the_alias_works_below_the_root_and_with_other_places() {
    let mut checkout = Checkout::new();
    assert_eq!(checkout.alias("xtask/src"), FIRST);
    let stamp = || fs::metadata(checkout.path(STAMP)).unwrap().ino();
    let first = stamp();
    assert_eq!(checkout.alias("."), FIRST);
    assert_eq!(stamp(), first, "cargo was called again");
    for (name, value) in [
        ("CARGO_TARGET_DIR", "elsewhere"),
        ("CARGO_BUILD_TARGET", &host()),
    ] {
        checkout.variables.push((name.to_owned(), value.to_owned()));
        for text in ["first", "second"] {
            checkout.write("xtask/src/text", text);
            for _ in 0..2 {
                assert_eq!(checkout.alias("."), FIRST.replace("text", text));
            }
        }
    }
    assert!(checkout.path("elsewhere").join(host()).is_dir());
}

/// Returns the target that rustc builds for.
fn host() -> String {
    let rustc = cargo().with_file_name("rustc");
    let text = printed(Command::new(rustc).arg("-vV"));
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names it").to_owned()
}
