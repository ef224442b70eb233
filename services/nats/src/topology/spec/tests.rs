//! Valid specifications, and every mistake in invalid ones.

use super::*;
use serde_json::json;

fn hub(nodes: u32, regions: &[&str]) -> HubSpoke {
    HubSpoke {
        hub_region: "iad".to_owned(),
        hub_nodes: nodes,
        leaf_regions: regions.iter().map(|name| (*name).to_owned()).collect(),
        leaf_nodes_per_region: 1,
    }
}

fn config(value: Value, profile: Profile) -> Result<Spec, Vec<String>> {
    let Value::Object(config) = value else {
        panic!("not an object")
    };
    from_config(&config, profile, &Lines::default()).map_err(told)
}

fn told(problems: Vec<Problem>) -> Vec<String> {
    let tell = |problem: Problem| format!("{} {}", problem.path, problem.message);
    problems.into_iter().map(tell).collect()
}

#[test]
fn the_manifest_of_this_workspace() {
    let manifest = kit::manifest::parse(include_str!("../../../service.json")).unwrap();
    let spec = |profile| from_config(&manifest.manifest.config, profile, &manifest.lines);
    assert_eq!(spec(Profile::Local).unwrap(), Spec::SingleNode);
    let production = hub(3, &["lhr", "nrt", "syd", "fra", "sjc"]);
    assert_eq!(
        spec(Profile::Production).unwrap(),
        Spec::HubSpoke(production)
    );
}

#[test]
fn a_hub_on_this_machine() {
    let value = json!({"topology": "hub-spoke", "deployment": {
        "local": {"nodes": 5, "hub_region": "iad", "leaf_regions": ["lhr"]}}});
    let expected = Spec::HubSpoke(hub(5, &["lhr"]));
    assert_eq!(config(value, Profile::Local).unwrap(), expected);
    assert_eq!(
        config(json!({}), Profile::Local).unwrap(),
        Spec::SingleNode,
        "nothing told"
    );
}

#[test]
fn everything_wrong_in_a_manifest_is_found_at_once() {
    let value = json!({"topologie": 1, "topology": "hub-spoke", "deployment": {
        "local": {"nodes": 4, "hub_region": "iad",
            "leaf_regions": ["iad", "LHR", "nrt", "nrt", "hub", 7]},
        "production": {"min_hub_nodes": 2, "hub_region": "-", "leaf_nodes_per_region": 0},
        "prod": {}}});
    assert_eq!(
        config(value, Profile::Local).unwrap_err(),
        [
            "config.topologie is unknown; did you mean `topology`?",
            "config.deployment.prod is unknown; did you mean `production`?",
            "config.deployment.production.min_hub_nodes is 2, but a hub has \
             3 nodes or more, an odd number",
            "config.deployment.production.hub_region is `-`, which \
             may not begin or end with `-`",
            "config.deployment.production.leaf_nodes_per_region is 0, but \
             must be a whole number, 1 to 9",
            "config.deployment.local.nodes is 4, but a hub has \
             3 nodes or more, an odd number",
            "config.deployment.local.leaf_regions[0] is `iad`, which \
             is the region of the hub",
            "config.deployment.local.leaf_regions[1] is `LHR`, which \
             may only hold a-z, 0-9 and `-`",
            "config.deployment.local.leaf_regions[3] names `nrt` again",
            "config.deployment.local.leaf_regions[4] is `hub`, which \
             is a name that Core uses itself",
            "config.deployment.local.leaf_regions[5] must be a name",
        ]
    );
}

#[test]
fn a_hub_needs_its_nodes_and_one_server_is_one() {
    let value = json!({"topology": "single-node", "deployment": {"local": {"nodes": 3}}});
    let problem = "config.deployment.local.nodes is 3, but `topology` `single-node` has one node";
    assert_eq!(config(value, Profile::Local).unwrap_err(), [problem]);
    let value = json!({"topology": "hub-spoke", "deployment": {
        "production": {"min_hub_nodes": 5}, "local": {"nodes": 3}}});
    let problem =
        "config.deployment.local.nodes is 3, but a hub has 5 nodes or more, an odd number";
    assert_eq!(config(value, Profile::Local).unwrap_err(), [problem]);
    let problem = "config.deployment.local.nodes is missing: a hub has 3 nodes or more, an odd \
         number";
    let value = json!({"topology": "hub-spoke"});
    assert_eq!(config(value, Profile::Local).unwrap_err(), [problem]);
}

#[test]
fn its_own_form_reads_back() {
    for spec in [Spec::SingleNode, Spec::HubSpoke(hub(3, &["lhr", "nrt"]))] {
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(from_json(&text, "spec").unwrap(), spec, "{text}");
    }
}

#[test]
fn mistakes_in_its_own_form() {
    for (text, expected) in [
        ("{", "spec is not valid JSON"),
        ("[]", "spec must be a JSON object"),
        ("{}", "spec.topology is missing"),
        (r#"{"topology": "single"}"#, "did you mean `single-node`?"),
        (
            r#"{"topology": "single-node", "hub_nodes": 3}"#,
            "spec.hub_nodes is unknown",
        ),
        (r#"{"topology": "hub-spoke"}"#, "spec.hub_nodes is missing"),
        (
            r#"{"topology": "hub-spoke", "hub_nodes": -3}"#,
            "spec.hub_nodes is -3",
        ),
        (r#"{"topology": "hub-spoke", "hub_nodes": 99}"#, "1 to 9"),
        (
            r#"{"topology": "hub-spoke", "hub_nodes": 3, "leaf_regions": "a"}"#,
            "must be a list",
        ),
        (
            r#"{"topology": "hub-spoke", "hub_nodes": 3, "leaf_regions": ["a", "a-2"],
            "leaf_nodes_per_region": 2}"#,
            "two nodes the name `a-2`",
        ),
    ] {
        let problems = told(from_json(text, "spec").unwrap_err());
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(expected), "{text}: {problems:?}");
    }
}
