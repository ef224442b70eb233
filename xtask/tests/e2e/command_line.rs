//! Invalid command lines: exit code 2 and a suggestion.

use crate::harness::{Sandbox, expected, same};

#[test]
pub(crate) fn mistakes_are_answered_with_what_was_meant() {
    let sandbox = Sandbox::core();
    let cases = [
        ("stauts", "near-a-command"),
        ("natss spec", "near-a-service"),
        ("frobnicate", "near-nothing"),
        ("nats spce", "command-of-a-service"),
        ("up --jsno", "option"),
        ("down --timeout 0", "value"),
    ];
    for (line, name) in cases {
        let run = sandbox.run(line).ends(2);
        same(line, run.stdout.as_str(), "");
        expected(
            &format!("command-line/{name}"),
            &sandbox.normal(&run.stderr),
        );
    }
    sandbox.nothing_was_started();
}

#[test]
fn a_place_that_is_no_checkout_is_named() {
    let sandbox = Sandbox::core();
    let run = sandbox
        .run_with("up", &[("CORE_ROOT", "/nowhere/at/all")])
        .ends(10);
    expected("command-line/no-checkout", &sandbox.normal(&run.stderr));
}
