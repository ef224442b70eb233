//! Command lines that cannot be understood: exit code 2 and what may have been meant.

use expect_test::{Expect, expect};

use crate::harness::{Sandbox, same};

#[test]
pub(crate) fn mistakes_are_answered_with_what_was_meant() {
    let sandbox = Sandbox::core();
    let cases: [(&str, Expect); 6] = [
        (
            "stauts",
            expect![[r"
                error: `stauts` is neither a command nor a service
                hint: did you mean `cargo xtask status`?"]],
        ),
        (
            "natss spec",
            expect![[r"
            error: `natss` is neither a command nor a service
            hint: did you mean `cargo xtask nats`?"]],
        ),
        (
            "frobnicate",
            expect![[r"
            error: `frobnicate` is neither a command nor a service
            hint: services here: caddy, nats, pocketbase"]],
        ),
        (
            "nats spce",
            expect![[r"
            error: unrecognized subcommand 'spce'

              tip: a similar subcommand exists: 'spec'

            Usage: cargo xtask nats <COMMAND>

            For more information, try '--help'."]],
        ),
        (
            "up --jsno",
            expect![[r"
            error: unexpected argument '--jsno' found

              tip: a similar argument exists: '--json'

            Usage: cargo xtask up --json

            For more information, try '--help'."]],
        ),
        (
            "down --timeout 0",
            expect![[r"
            error: invalid value '0' for '--timeout <SECONDS>': 0 is not in 1..18446744073709551615

            For more information, try '--help'."]],
        ),
    ];
    for (line, expected) in cases {
        let run = sandbox.run(line).ends(2);
        same(line, run.stdout.as_str(), "");
        expected.assert_eq(&sandbox.normal(&run.stderr));
    }
    sandbox.nothing_was_started();
}

#[test]
fn a_place_that_is_no_checkout_is_named() {
    let sandbox = Sandbox::core();
    let run = sandbox
        .run_with("up", &[("CORE_ROOT", "/nowhere/at/all")])
        .ends(10);
    expect![[r"
        error: cannot find the services: cannot list the services in `/nowhere/at/all/services`: No such file or directory (os error 2)
        hint: run the command in a checkout of Core, or name one by the variable CORE_ROOT"]].assert_eq(&sandbox.normal(&run.stderr));
}
