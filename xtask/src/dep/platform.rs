//! The name of our platform in the notation of upstreams and `dep.lock`.

use std::env::consts;

/// Returns `linux-amd64`, `linux-arm64`, `darwin-amd64` or `darwin-arm64`; on any other machine
/// Rust's names, for which `dep.lock` pins nothing.
pub fn current() -> String {
    format!("{}-{}", os(consts::OS), arch(consts::ARCH))
}

fn os(name: &str) -> &str {
    match name {
        "macos" => "darwin",
        other => other,
    }
}

fn arch(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_upstreams() {
        assert_eq!((os("macos"), os("linux")), ("darwin", "linux"));
        assert_eq!((arch("aarch64"), arch("x86_64")), ("arm64", "amd64"));
        assert_eq!(arch("riscv64"), "riscv64");
    }
}
