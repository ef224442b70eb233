//! The further processes of NATS, from a topology: what they are, and that they leave each other
//! alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine::plan::env::Env;
use engine::plan::render::compose::{self, Secrets};
use engine::plan::stack::{
    Finding, Places, ReadinessCheck, Service, Stack, build, topology, with_nodes,
};
use kit::manifest::Condition;
use proptest::prelude::*;
use service_nats::topology::{Facts, HubSpoke, Spec};

const NATS: &str = include_str!("../../../services/nats/service.json");
const POCKETBASE: &str = include_str!("../../../services/pocketbase/service.json");
const CADDY: &str = include_str!("../../../services/caddy/service.json");

/// Every region that a test may have.
const REGIONS: [&str; 5] = ["fra", "lhr", "lhr-3", "nrt", "syd"];

fn service(name: &str, text: &str) -> Service {
    Service::parse(name, text).unwrap()
}

fn services() -> Vec<Service> {
    let all = [("caddy", CADDY), ("nats", NATS), ("pocketbase", POCKETBASE)];
    all.map(|(name, text)| service(name, text)).into()
}

fn places() -> Places {
    Places::new(PathBuf::from("/checkout"))
}

fn facts(hub_nodes: u32, regions: &[&str], per_region: u32) -> Facts {
    let spec = HubSpoke {
        hub_region: "iad".to_owned(),
        hub_nodes,
        leaf_regions: regions.iter().map(|name| (*name).to_owned()).collect(),
        leaf_nodes_per_region: per_region,
    };
    Facts {
        spec: Spec::HubSpoke(spec),
        ports: ports(),
        ..Facts::default()
    }
}

/// The ports of every node that a test may have, as if each had been there once.
fn ports() -> BTreeMap<String, BTreeMap<String, u16>> {
    let hub = (1..=9).map(|number| format!("nats-hub-{number}"));
    let leaves = REGIONS.iter().flat_map(|region| {
        let further = [2, 3].map(|number| format!("nats-leaf-{region}-{number}"));
        std::iter::once(format!("nats-leaf-{region}")).chain(further)
    });
    let mut next = 30_000;
    let mut all = BTreeMap::new();
    for process in hub.chain(leaves) {
        let names = ["client", "cluster", "leaf", "http", "ws"];
        let ports = names.map(|name| {
            next += 1;
            (name.to_owned(), next)
        });
        all.insert(process, ports.into());
    }
    all
}

fn stack(facts: &Facts) -> Stack {
    build_all(&services(), &Env::default(), facts).unwrap()
}

fn build_all(services: &[Service], env: &Env, facts: &Facts) -> Result<Stack, Vec<Finding>> {
    let alone = build(services, env, &places())?;
    with_nodes(alone, services, env, &places(), facts)
}

/// The text of every entry.
fn entries(facts: &Facts) -> BTreeMap<String, String> {
    let text = compose::render(&stack(facts), &places(), Secrets::Plain).unwrap();
    let mut entries = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines().skip_while(|line| *line != "processes:") {
        if line.starts_with("  ") && !line.starts_with("   ") {
            line.trim_matches([' ', ':', '"']).clone_into(&mut name);
        }
        let entry: &mut String = entries.entry(name.clone()).or_default();
        entry.push_str(line);
        entry.push('\n');
    }
    entries
}

#[test]
fn a_hub_of_three_and_a_region() {
    let stack = stack(&facts(3, &["lhr"], 1));
    let order = [
        "nats",
        "nats-hub-1",
        "nats-hub-2",
        "nats-hub-3",
        "nats-leaf-lhr",
        "pocketbase",
        "caddy",
    ];
    assert_eq!(stack.order, order);
    let hub = &stack.processes["nats-hub-2"];
    let env = |name: &str| hub.env[name].text.as_str();
    assert_eq!(env("NATS_CLUSTER"), "hub");
    assert_eq!(env("NATS_NODE_ID"), "hub-2");
    assert_eq!(env("NATS_REGION"), "iad");
    assert_eq!(env("NATS_DATA_DIR"), ".data/nats-hub-2");
    assert_eq!(env("NATS_STATE_DIR"), ".core-stack/nats-hub-2");
    assert_eq!(env("NATS_TOPOLOGY_FILE"), ".data/nats/topology.json");
    assert_eq!(env("NATS_CLUSTER_PORT"), "30007");
    assert_eq!(hub.depends_on, BTreeMap::new());
    assert_eq!(hub.ports["client"].port, 30_006);
    let ReadinessCheck::Http { url, .. } = &hub.readiness.as_ref().unwrap().check else {
        panic!("asked by HTTP")
    };
    assert_eq!(url, "http://127.0.0.1:30009/healthz?js-server-only=true");

    let leaf = &stack.processes["nats-leaf-lhr"];
    assert_eq!(leaf.env["NATS_CLUSTER"].text, "leaf");
    let waits_for: Vec<&str> = leaf.depends_on.keys().map(String::as_str).collect();
    assert_eq!(waits_for, ["nats-hub-1", "nats-hub-2", "nats-hub-3"]);
    assert_eq!(leaf.depends_on["nats-hub-1"], Condition::ProcessHealthy);
    let pocketbase: Vec<&String> = stack.processes["pocketbase"].depends_on.keys().collect();
    assert_eq!(pocketbase, ["nats"]);
}

#[test]
fn apps_find_each_node_by_variables_of_its_own() {
    let stack = stack(&facts(3, &["lhr-3"], 1));
    let variables = engine::operations::exports::of(&stack);
    let nats = |name: &str, process: &str| {
        let port = stack.processes[process].ports["client"].port;
        let url = Some(format!("nats://127.0.0.1:{port}"));
        assert_eq!(variables.get(name).cloned(), url, "{variables:#?}");
    };
    nats("NATS_URL", "nats");
    nats("NATS_URL_HUB_3", "nats-hub-3");
    nats("NATS_URL_LEAF_LHR_3", "nats-leaf-lhr-3");
    // Three of NATS for each of five servers, and those of the others.
    assert_eq!(variables.len(), 3 * 5 + 2, "{variables:#?}");
}

#[test]
fn a_node_names_no_port_of_another() {
    let facts = facts(5, &REGIONS, 3);
    let rendered = entries(&facts);
    for (owner, ports) in &facts.ports {
        for (name, entry) in rendered.iter().filter(|(name, _)| *name != owner) {
            for port in ports.values() {
                assert!(
                    !entry.contains(&port.to_string()),
                    "{name}: {port} of {owner}"
                );
            }
        }
    }
}

#[test]
fn a_service_with_the_name_of_a_node_is_refused() {
    let mut services = services();
    services.push(service("nats-hub-1", r#"{"process": {"command": "x"}}"#));
    let facts = facts(3, &[], 1);
    let findings = build_all(&services, &Env::default(), &facts).unwrap_err();
    let told = findings[0].to_string();
    assert!(
        told.contains("`nats-hub-1` is that of a node of NATS"),
        "{told}"
    );
}

#[test]
fn a_port_of_a_node_is_not_given_to_a_service() {
    let env = Env::from_pairs([("CORE_PORT_CADDY_HTTP", "30001")]);
    let findings = build_all(&services(), &env, &facts(3, &[], 1)).unwrap_err();
    let told = findings[0].to_string();
    assert!(told.contains("`nats-hub-1` has already"), "{told}");
}

fn asked(changes: &[(&str, &str)], env: &[(&str, &str)]) -> Result<Spec, Vec<String>> {
    let text = changes
        .iter()
        .fold(NATS.to_owned(), |text, (from, to)| text.replace(from, to));
    let services = [service("nats", &text)];
    let env = Env::from_pairs(env.iter().copied());
    let findings = |findings: Vec<engine::plan::stack::Finding>| {
        findings.iter().map(ToString::to_string).collect()
    };
    topology(&services, &env).map_err(findings)
}

#[test]
fn the_profile_and_the_variable_decide() {
    assert_eq!(asked(&[], &[]).unwrap(), Spec::SingleNode);
    let Spec::HubSpoke(production) = asked(&[], &[("CORE_PROFILE", "production")]).unwrap() else {
        panic!("production has a hub")
    };
    assert_eq!(production.leaf_regions.len(), 5);
    let spec = r#"{"topology": "hub-spoke", "hub_nodes": 5, "leaf_regions": ["lhr"]}"#;
    let Spec::HubSpoke(own) = asked(&[], &[("CORE_TOPOLOGY_NATS", spec)]).unwrap() else {
        panic!("the variable asks for a hub")
    };
    assert_eq!((own.hub_nodes, own.hub_region.as_str()), (5, "local"));
}

#[test]
fn everything_wrong_with_a_topology_is_found_with_its_line() {
    let changes = [
        (r#""topology": "single-node""#, r#""topology": "hub-spok""#),
        (r#""hub_region": "iad""#, r#""hub_region": "lhr""#),
        (r#""min_hub_nodes": 3"#, r#""min_hub_node": 3"#),
    ];
    let env = [("CORE_PROFILE", "staging"), ("CORE_TOPOLOGY_NATS", "{}")];
    let line = |text: &str| NATS.lines().position(|line| line.contains(text)).unwrap() + 1;
    assert_eq!(
        asked(&changes, &env).unwrap_err(),
        [
            "environment: `CORE_PROFILE` must be one of `local`, `production`".to_owned(),
            format!(
                "services/nats/service.json:{}: `config.deployment.production.min_hub_node` is \
                 unknown; did you mean `min_hub_nodes`?",
                line("min_hub_nodes")
            ),
            format!(
                "services/nats/service.json:{}: `config.topology` is unknown; did you mean \
                 `hub-spoke`?",
                line("\"topology\"")
            ),
            format!(
                "services/nats/service.json:{}: `config.deployment.production.leaf_regions[0]` is \
                 `lhr`, which is the region of the hub",
                line("leaf_regions")
            ),
            "environment: `CORE_TOPOLOGY_NATS.topology` is missing".to_owned(),
        ]
    );
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let regions = proptest::sample::subsequence(REGIONS.to_vec(), 0..=REGIONS.len());
    let hub = prop_oneof![Just(3_u32), Just(5), Just(7)];
    (hub, regions.prop_shuffle(), 1_u32..=2)
        .prop_map(|(hub, regions, per_region)| facts(hub, &regions, per_region))
}

proptest! {
    // Each case renders two stacks; few of them differ in a way that matters.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_stays_keeps_its_bytes(one in any_facts(), other in any_facts()) {
        let alone = entries(&Facts::default());
        let (one, other) = (entries(&one), entries(&other));
        for (name, entry) in &one {
            for others in [&other, &alone] {
                if let Some(again) = others.get(name) {
                    prop_assert_eq!(entry, again, "{}", name);
                }
            }
        }
        for name in alone.keys() {
            prop_assert!(one.contains_key(name), "{} is gone", name);
        }
    }
}
