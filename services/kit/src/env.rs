//! Reads a service's settings from its environment.
//!
//! Owns the syntax of values and collects every problem before it reports. Must not read the
//! process environment itself (the lookup is a parameter) or repeat a value that may be secret.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::http::Endpoint;
use crate::{Exit, Failure};

/// Returns the value of a variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads variables one by one and collects what is wrong with them.
///
/// A reading method returns a placeholder for an invalid value, and [`Reader::finish`] then returns
/// an error. An empty value counts as unset.
pub struct Reader<'a> {
    lookup: Lookup<'a>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Creates a reader that uses `lookup`.
    pub fn new(lookup: Lookup<'a>) -> Self {
        Self {
            lookup,
            problems: Vec::new(),
        }
    }

    /// Returns a value, or `None` when it is unset or empty.
    pub fn optional(&mut self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// Returns a value and reports a problem when it is missing.
    pub fn required(&mut self, name: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.problem(format!("{name} is not set"));
            String::new()
        })
    }

    /// Returns a path, made absolute without access to the disk.
    pub fn path(&mut self, name: &str) -> PathBuf {
        let value = self.required(name);
        if value.is_empty() {
            return PathBuf::new();
        }
        std::path::absolute(&value).unwrap_or_else(|_| {
            self.problem(format!("{name}: `{value}` cannot be made absolute"));
            PathBuf::new()
        })
    }

    /// Returns a port.
    pub fn port(&mut self, name: &str) -> u16 {
        let value = self.required(name);
        if value.is_empty() {
            return 0;
        }
        value
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .unwrap_or_else(|| {
                self.problem(format!("{name}: `{value}` is not a port (1 to 65535)"));
                0
            })
    }

    /// Returns an address to listen on: an IP address or `localhost`.
    pub fn host(&mut self, name: &str) -> IpAddr {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let value = self.required(name);
        if value.is_empty() || value == "localhost" {
            return loopback;
        }
        if let Ok(ip) = value.parse::<IpAddr>() {
            return ip.to_canonical();
        }
        self.problem(format!(
            "{name}: `{value}` is not an IP address (127.0.0.1, 0.0.0.0 ...)"
        ));
        loopback
    }

    /// Returns the address of another server: `HOST:PORT`.
    pub fn endpoint(&mut self, name: &str) -> Endpoint {
        let value = self.required(name);
        let nowhere = Endpoint::tcp("", 0);
        if value.is_empty() {
            return nowhere;
        }
        Endpoint::from_authority(&value).unwrap_or_else(|| {
            self.problem(format!("{name}: `{value}` is not of the form HOST:PORT"));
            nowhere
        })
    }

    /// Adds a problem found by the caller.
    pub fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// Returns the settings, or an error of [`Exit::Invalid`] with every problem.
    pub fn finish<T>(self, service: &str, settings: T) -> anyhow::Result<T> {
        if self.problems.is_empty() {
            return Ok(settings);
        }
        let heading = format!("the settings of `{service}` are invalid");
        let message = match self.problems.as_slice() {
            [only] => format!("{heading}: {only}"),
            many => format!("{heading}:\n  {}", many.join("\n  ")),
        };
        Err(Failure::new(Exit::Invalid, message)
            .hint("correct what is named in `.env`, in the environment or in the manifest")
            .into())
    }
}

/// Checks that the program in `variable` exists.
pub fn check_program(program: &Path, variable: &str) -> anyhow::Result<()> {
    if program.is_file() {
        return Ok(());
    }
    let message = format!("`{}` ({variable}) is not there", program.display());
    let hint = "cargo xtask dep fetch";
    Err(Failure::new(Exit::Binary, message).hint(hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once() {
        let lookup = |name: &str| match name {
            "PORT" => Some("99999".to_owned()),
            "HOST" => Some("example.com".to_owned()),
            "EMPTY" => Some(String::new()),
            "PEER" => Some("127.0.0.1".to_owned()),
            _ => None,
        };
        let mut reader = Reader::new(&lookup);
        reader.port("PORT");
        reader.host("HOST");
        reader.required("EMPTY");
        reader.path("DIR");
        reader.endpoint("PEER");
        let error = reader.finish("x", ()).unwrap_err();
        assert_eq!(crate::failure::exit_of(&error), Exit::Invalid);
        assert_eq!(
            error.to_string(),
            "the settings of `x` are invalid:\n  \
             PORT: `99999` is not a port (1 to 65535)\n  \
             HOST: `example.com` is not an IP address (127.0.0.1, 0.0.0.0 ...)\n  \
             EMPTY is not set\n  \
             DIR is not set\n  \
             PEER: `127.0.0.1` is not of the form HOST:PORT"
        );
    }

    #[test]
    fn good_values() {
        let lookup = |name: &str| match name {
            "PORT" => Some("4222".to_owned()),
            "HOST" => Some("localhost".to_owned()),
            "V6" => Some("::1".to_owned()),
            "DIR" => Some("/a/./b".to_owned()),
            _ => None,
        };
        let mut reader = Reader::new(&lookup);
        assert_eq!(reader.port("PORT"), 4222);
        assert_eq!(reader.host("HOST"), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(reader.host("V6").to_string(), "::1");
        assert_eq!(reader.path("DIR"), PathBuf::from("/a/b"));
        assert_eq!(reader.optional("NONE"), None);
        reader.finish("x", ()).unwrap();
    }
}
