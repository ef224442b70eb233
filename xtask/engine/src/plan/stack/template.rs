//! Placeholders: `${dep.NAME}`, `${data}`, `${state}`, `${env.VAR}`, `${env.VAR:-default}`,
//! `${port.NAME}`, `${port.SERVICE.NAME}`, `${listen}`, `${host.SERVICE}`, `${host.SERVICE.PORT}`;
//! for the front, `${routes}` and `${origins}`.
//!
//! Only `${` begins one; `$${` stands for a literal `${`, and any other `$` for itself. The value
//! of a variable is never parsed for placeholders.

use std::net::IpAddr;

/// A parsed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Text(String),
    Dep(String),
    Data,
    State,
    Routes,
    Origins,
    Env {
        name: String,
        default: Option<Template>,
    },
    Port {
        service: Option<String>,
        name: String,
    },
    Listen,
    Host {
        service: String,
        port: Option<String>,
    },
}

/// Where a part of a resolved text comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A variable that is set.
    Variable(String),
    /// A variable that is unset or empty: its default is used.
    Unset(String),
    /// A port; of the own service if `service` is `None`.
    Port {
        service: Option<String>,
        name: String,
    },
    /// The address of a service; of the own one if it is `None`.
    Host(Option<String>),
}

/// Returns the values of placeholders. An error is a fragment that says what is wrong.
pub(super) trait Scope {
    /// The path of a binary.
    fn dep(&self, name: &str) -> Result<String, String>;
    /// The data directory of the instance.
    fn data(&self) -> Result<String, String>;
    /// The state directory of the instance.
    fn state(&self) -> Result<String, String>;
    /// A variable, if it is set.
    fn env(&self, name: &str) -> Option<String>;
    /// The number of a port; of the own service if `service` is `None`.
    fn port(&self, service: Option<&str>, name: &str) -> Result<u16, String>;
    /// The address that the own service listens on.
    fn listen(&self) -> Result<IpAddr, String>;
    /// The routes of all services, as JSON.
    fn routes(&self) -> Result<String, String>;
    /// The origins of pages of this stack, separated by commas.
    fn origins(&self) -> Result<String, String>;
    /// The address at which a service, or one of its ports, is reached.
    fn host(&self, service: &str, port: Option<&str>) -> Result<IpAddr, String>;
}

impl Template {
    /// Parses a text; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (template, rest) = parse(text, false)?;
        debug_assert!(rest.is_empty());
        Ok(template)
    }

    /// Returns the text with every placeholder replaced, or all errors.
    pub(super) fn resolve(&self, scope: &dyn Scope) -> Result<String, Vec<String>> {
        let mut text = String::new();
        let mut problems = Vec::new();
        for (index, segment) in self.0.iter().enumerate() {
            match segment.resolve(scope) {
                // Its colons would be parsed as that of a port.
                Ok(part) if segment.is_address() && part.contains(':') => {
                    let is_in_url = ["//", "@"].iter().any(|end| text.ends_with(end));
                    let has_port = match self.0.get(index + 1) {
                        Some(Segment::Text(text)) => text.starts_with(':'),
                        _ => false,
                    };
                    if is_in_url || has_port {
                        text.extend(["[", &part, "]"]);
                    } else {
                        text.push_str(&part);
                    }
                }
                Ok(part) => text.push_str(&part),
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() {
            Ok(text)
        } else {
            Err(problems)
        }
    }

    /// Returns where the parts of the text come from, with the variables of `env`.
    pub(super) fn sources(&self, env: &dyn Fn(&str) -> Option<String>) -> Vec<Source> {
        let mut sources = Vec::new();
        for segment in &self.0 {
            match segment {
                Segment::Port { service, name } => sources.push(Source::Port {
                    service: service.clone(),
                    name: name.clone(),
                }),
                Segment::Listen => sources.push(Source::Host(None)),
                Segment::Host { service, .. } => {
                    sources.push(Source::Host(Some(service.clone())));
                }
                Segment::Env { name, default } => match (env(name), default) {
                    (Some(value), _) if default.is_none() || !value.is_empty() => {
                        sources.push(Source::Variable(name.clone()));
                    }
                    (_, Some(default)) => {
                        sources.push(Source::Unset(name.clone()));
                        sources.extend(default.sources(env));
                    }
                    (_, None) => {}
                },
                _ => {}
            }
        }
        sources
    }

    /// Whether the text is made from the routes of all services.
    pub(super) fn reads_routes(&self) -> bool {
        self.0.contains(&Segment::Routes)
    }

    /// Returns the variables that the text reads.
    pub(super) fn variables(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for segment in &self.0 {
            if let Segment::Env { name, default } = segment {
                names.push(name.as_str());
                names.extend(default.iter().flat_map(Template::variables));
            }
        }
        names
    }
}

impl Segment {
    fn is_address(&self) -> bool {
        matches!(self, Self::Listen | Self::Host { .. })
    }

    fn resolve(&self, scope: &dyn Scope) -> Result<String, Vec<String>> {
        let one = |problem| vec![problem];
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Dep(name) => scope.dep(name).map_err(one),
            Self::Data => scope.data().map_err(one),
            Self::State => scope.state().map_err(one),
            Self::Routes => scope.routes().map_err(one),
            Self::Origins => scope.origins().map_err(one),
            Self::Port { service, name } => scope
                .port(service.as_deref(), name)
                .map(|port| port.to_string())
                .map_err(one),
            Self::Listen => scope.listen().map(|ip| ip.to_string()).map_err(one),
            Self::Host { service, port } => scope
                .host(service, port.as_deref())
                .map(|ip| ip.to_string())
                .map_err(one),
            Self::Env { name, default } => match (scope.env(name), default) {
                (Some(value), None) => Ok(value),
                // As in a shell, `:-` also replaces an empty value.
                (Some(value), Some(_)) if !value.is_empty() => Ok(value),
                (_, Some(default)) => default.resolve(scope),
                (None, None) => Err(vec![format!(
                    "needs the variable `{name}`, which neither the environment nor `.env` sets"
                )]),
            },
        }
    }
}

/// Parses up to the end, or inside a default up to its closing `}`. Returns the rest.
fn parse(text: &str, inside: bool) -> Result<(Template, &str), String> {
    let mut segments = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix("$${") {
            plain.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            if !plain.is_empty() {
                segments.push(Segment::Text(std::mem::take(&mut plain)));
            }
            let (segment, after) = parse_placeholder(after)?;
            segments.push(segment);
            rest = after;
        } else if inside && rest.starts_with('}') {
            break;
        } else if let Some(char) = rest.chars().next() {
            plain.push(char);
            rest = &rest[char.len_utf8()..];
        } else if inside {
            return Err("has a placeholder without its `}`".to_owned());
        } else {
            break;
        }
    }
    if !plain.is_empty() {
        segments.push(Segment::Text(plain));
    }
    Ok((Template(segments), rest))
}

/// Parses the text after `${`, including the closing `}`.
fn parse_placeholder(text: &str) -> Result<(Segment, &str), String> {
    let end = text
        .find(['}', ':'])
        .ok_or("has a placeholder without its `}`")?;
    let (name, after) = text.split_at(end);
    if let Some(after) = after.strip_prefix(":-")
        && let Some(variable) = name.strip_prefix("env.")
    {
        let (default, after) = parse(after, true)?;
        let name = variable_name(variable)?;
        return Ok((
            Segment::Env {
                name,
                default: Some(default),
            },
            &after[1..],
        ));
    }
    let Some(after) = after.strip_prefix('}') else {
        return Err(format!(
            "has `${{{name}:`, but only `${{env.VAR:-default}}` has a default"
        ));
    };
    Ok((simple(name)?, after))
}

fn simple(name: &str) -> Result<Segment, String> {
    let segment = match name.split_once('.') {
        None if name == "data" => Segment::Data,
        None if name == "state" => Segment::State,
        None if name == "listen" => Segment::Listen,
        None if name == "routes" => Segment::Routes,
        None if name == "origins" => Segment::Origins,
        Some(("dep", binary)) if !binary.is_empty() => Segment::Dep(binary.to_owned()),
        Some(("env", variable)) => Segment::Env {
            name: variable_name(variable)?,
            default: None,
        },
        Some(("port", port)) if !port.is_empty() => match port.split_once('.') {
            Some((service, name)) => Segment::Port {
                service: Some(service.to_owned()),
                name: name.to_owned(),
            },
            None => Segment::Port {
                service: None,
                name: port.to_owned(),
            },
        },
        Some(("host", host)) if !host.is_empty() => {
            let (service, port) = match host.split_once('.') {
                Some((service, port)) => (service, Some(port.to_owned())),
                None => (host, None),
            };
            Segment::Host {
                service: service.to_owned(),
                port,
            }
        }
        _ => {
            return Err(format!(
                "has the unknown placeholder `${{{name}}}`; there are `${{dep.NAME}}`, \
                 `${{data}}`, `${{state}}`, `${{env.VAR}}`, `${{env.VAR:-default}}`, \
                 `${{port.NAME}}`, `${{port.SERVICE.NAME}}`, `${{listen}}`, \
                 `${{host.SERVICE}}`, `${{host.SERVICE.PORT}}`, `${{routes}}` and `${{origins}}` \
                 (write `$${{` for a literal `${{`)"
            ));
        }
    };
    Ok(segment)
}

fn variable_name(name: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(valid) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(format!(
            "has `${{env.{name}}}`, which does not name a variable"
        ));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Fixed;

    impl Scope for Fixed {
        fn dep(&self, name: &str) -> Result<String, String> {
            if name == "web" {
                Ok(".dep/web".into())
            } else {
                Err(format!("no `{name}`"))
            }
        }
        fn data(&self) -> Result<String, String> {
            Ok(".data".into())
        }
        fn state(&self) -> Result<String, String> {
            Ok(".core-stack".into())
        }
        fn env(&self, name: &str) -> Option<String> {
            match name {
                "SET" => Some("a${data}$$b".into()),
                "EMPTY" => Some(String::new()),
                _ => None,
            }
        }
        fn port(&self, service: Option<&str>, name: &str) -> Result<u16, String> {
            match (service, name) {
                (None, "http") => Ok(80),
                (Some("db"), "http") => Ok(81),
                _ => Err(format!("no port `{name}`")),
            }
        }
        fn listen(&self) -> Result<IpAddr, String> {
            Ok(std::net::Ipv6Addr::UNSPECIFIED.into())
        }
        fn routes(&self) -> Result<String, String> {
            Ok("[]".into())
        }
        fn origins(&self) -> Result<String, String> {
            Ok("http://localhost:80".into())
        }
        fn host(&self, service: &str, port: Option<&str>) -> Result<IpAddr, String> {
            match (service, port) {
                ("db", None) => Ok(std::net::Ipv6Addr::LOCALHOST.into()),
                ("db", Some("http")) => Ok([127, 0, 0, 2].into()),
                _ => Err(format!("no host of `{service}`")),
            }
        }
    }

    fn resolve(text: &str) -> Result<String, Vec<String>> {
        Template::parse(text)
            .map_err(|problem| vec![problem])?
            .resolve(&Fixed)
    }

    #[test]
    fn values() {
        for (text, expected) in [
            ("", ""),
            ("${routes} ${origins}", "[] http://localhost:80"),
            ("${dep.web} -p ${port.http}", ".dep/web -p 80"),
            (
                "${data}/x:${state}/y:${port.db.http}",
                ".data/x:.core-stack/y:81",
            ),
            ("${env.SET}", "a${data}$$b"),
            ("[${env.EMPTY}]", "[]"),
            ("${env.EMPTY:-d}${env.UNSET:-}", "d"),
            (
                "${env.UNSET:-http://h:${port.http}/${env.SET}}!",
                "http://h:80/a${data}$$b!",
            ),
            ("${host.db} ${host.db.http} ${listen}", "::1 127.0.0.2 ::"),
            (
                "http://${host.db}:${port.db.http} ${listen}:1 u@${host.db} x//${host.db.http}:1",
                "http://[::1]:81 [::]:1 u@[::1] x//127.0.0.2:1",
            ),
            ("${env.UNSET:-${host.db}:1,${host.db}}", "[::1]:1,::1"),
            ("$${data} $HOME $$ $ {} }", "${data} $HOME $$ $ {} }"),
        ] {
            assert_eq!(resolve(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes() {
        for (text, expected) in [
            ("${", "without its `}`"),
            ("${env.A:-x", "without its `}`"),
            ("${nope}", "unknown placeholder `${nope}`"),
            ("${}", "unknown placeholder `${}`"),
            ("${data.x}", "unknown placeholder `${data.x}`"),
            ("${dep.}", "unknown placeholder"),
            ("${data:-x}", "only `${env.VAR:-default}`"),
            ("${env.}", "does not name a variable"),
            ("${env.A-B}", "does not name a variable"),
            ("${env.UNSET}", "needs the variable `UNSET`"),
            ("${dep.nope}", "no `nope`"),
            ("${port.nope}", "no port `nope`"),
            ("${host.}", "unknown placeholder `${host.}`"),
            ("${host}", "unknown placeholder `${host}`"),
            ("${listen.x}", "unknown placeholder `${listen.x}`"),
            ("${host.nope}", "no host of `nope`"),
        ] {
            let problems = resolve(text).unwrap_err();
            assert!(problems[0].contains(expected), "{text}: {problems:?}");
        }
        assert_eq!(
            resolve("${dep.a} ${port.b} ${env.C}").unwrap_err().len(),
            3,
            "all at once"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = resolve(&text);
        }

        #[test]
        fn text_without_a_placeholder_is_kept(text in "[^{]{0,60}") {
            prop_assert_eq!(resolve(&text).unwrap(), text);
        }
    }
}
