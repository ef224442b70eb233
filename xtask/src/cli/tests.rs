//! Command lines that are understood, and those that are not.

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;

#[test]
fn definitions_are_consistent() {
    Cli::command().debug_assert();
    ServiceCli::command().debug_assert();
    NatsCli::command().debug_assert();
}

#[test]
fn valid_lines() {
    for line in [
        "up",
        "up -d",
        "up --attach --timeout 5 --no-wait --offline --locked --system",
        "up --json",
        "down --timeout 3",
        "reload --json --timeout 5 --no-wait",
        "reload --move-streams",
        "plan --json --profile production",
        "status --json",
        "env --format github --declared",
        "clean --data --yes --state --dep --no-wait --json",
        "init my-service --wrapper --port 9000",
        "up --ci --offline",
        "topology show --json",
        "topology set --hub-nodes 3 --leaf nrt,lhr --no-wait",
        "topology set nats --single-node --move-streams --timeout 9 --json",
        "topology set --file spec.json",
        "topology reset",
        "topology history --limit 5",
        "up --tui --timings",
        "status --watch --json",
        "doctor --fix --json --offline",
        "logs",
        "logs nats caddy -f --since 1h30m --tail 20 --level warn --grep (?i)x --json",
        "restart nats --with-dependents --timeout 5 --no-wait --json",
        "stop nats caddy",
        "start nats",
        "signal nats SIGHUP --json",
        "attach",
        "render --stdout",
        "render --check",
        "dep list --json",
        "dep fetch nats caddy-server --offline",
        "dep verify --json",
        "dep update nats-server@2.15.1 caddy-server",
        "schema --check",
        "docs",
        "bench stack probe --runs 3 --json",
        "nats spec",
        "my-service run --offline",
        "nats run --nodes 3 --leaf lhr --leaf nrt",
    ] {
        let words = std::iter::once("xtask").chain(line.split(' '));
        assert!(Cli::try_parse_from(words).is_ok(), "{line}");
    }
}

#[test]
fn nats_can_do_more_than_a_service() {
    for line in [
        "spec",
        "run --offline",
        "replicate",
        "replicate A B --timeout 5 --json",
    ] {
        assert!(NatsCli::try_parse_from(line.split(' ')).is_ok(), "{line}");
    }
    let error = ServiceCli::try_parse_from(["replicate"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSubcommand);
}

#[test]
fn invalid_lines() {
    for (line, kind) in [
        ("env --json --format sh", ErrorKind::ArgumentConflict),
        ("up --ci --attach", ErrorKind::ArgumentConflict),
        ("clean --yes", ErrorKind::MissingRequiredArgument),
        ("init x --port 0", ErrorKind::ValueValidation),
        ("up --detach --attach", ErrorKind::ArgumentConflict),
        ("up --profile test", ErrorKind::InvalidValue),
        ("up --timeout 0", ErrorKind::ValueValidation),
        (
            "down --timeout 18446744073709551615",
            ErrorKind::ValueValidation,
        ),
        ("up --timeout soon", ErrorKind::ValueValidation),
        ("up now", ErrorKind::UnknownArgument),
        ("up --tui --attach", ErrorKind::ArgumentConflict),
        ("up --tui --json", ErrorKind::ArgumentConflict),
        ("logs --level loud", ErrorKind::ValueValidation),
        ("logs --grep (", ErrorKind::ValueValidation),
        ("logs --since yesterday", ErrorKind::ValueValidation),
        ("logs --tail -1", ErrorKind::UnknownArgument),
        ("restart", ErrorKind::MissingRequiredArgument),
        ("signal nats", ErrorKind::MissingRequiredArgument),
        ("signal nats 0", ErrorKind::ValueValidation),
        ("render --stdout --check", ErrorKind::ArgumentConflict),
        ("dep", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("topology set", ErrorKind::MissingRequiredArgument),
        (
            "topology set --single-node --leaf a",
            ErrorKind::ArgumentConflict,
        ),
        (
            "topology set --file x --no-leaf",
            ErrorKind::ArgumentConflict,
        ),
        ("dep remove", ErrorKind::InvalidSubcommand),
        ("bench everything", ErrorKind::InvalidValue),
        ("bench --runs 0", ErrorKind::ValueValidation),
        ("--nope", ErrorKind::UnknownArgument),
    ] {
        let words = std::iter::once("xtask").chain(line.split_whitespace());
        let error = Cli::try_parse_from(words).unwrap_err();
        assert_eq!(error.kind(), kind, "{line}");
    }
}
