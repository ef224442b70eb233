//! The start order of processes, from their dependencies.

use std::collections::{BTreeMap, BTreeSet};

/// Returns the names with each after its dependencies, alphabetically where several orders are
/// possible; or the names of one cycle, in its order, from its alphabetically first.
pub(super) fn order(
    edges: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Vec<String>, Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    let mut waiting: BTreeMap<&String, BTreeSet<&String>> = edges
        .iter()
        .map(|(name, on)| (name, on.iter().collect()))
        .collect();
    while !waiting.is_empty() {
        let free = waiting
            .iter()
            .find(|(_, on)| on.is_empty())
            .map(|(name, _)| *name);
        let Some(free) = free else {
            return Err(cycle(&waiting));
        };
        waiting.remove(free);
        for on in waiting.values_mut() {
            on.remove(free);
        }
        order.push(free.clone());
    }
    Ok(order)
}

/// Returns a cycle: follows dependencies among waiting processes until a name is repeated.
fn cycle(waiting: &BTreeMap<&String, BTreeSet<&String>>) -> Vec<String> {
    let mut path: Vec<&String> = Vec::new();
    let mut next = waiting.keys().next().copied();
    while let Some(name) = next {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            let mut cycle: Vec<String> = path[start..].iter().map(|name| (*name).clone()).collect();
            let first = (0..cycle.len())
                .min_by_key(|index| &cycle[*index])
                .unwrap_or(0);
            cycle.rotate_left(first);
            return cycle;
        }
        path.push(name);
        next = waiting[name].iter().next().copied();
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(pairs: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        pairs
            .iter()
            .map(|(name, on)| ((*name).to_owned(), set(on)))
            .collect()
    }

    #[test]
    fn dependencies_come_first() {
        let graph = edges(&[("a", &["c"]), ("b", &[]), ("c", &["b"]), ("d", &[])]);
        assert_eq!(order(&graph).unwrap(), ["b", "c", "a", "d"]);
    }

    #[test]
    fn a_cycle_is_named_from_its_first() {
        let graph = edges(&[("a", &["z"]), ("x", &["y"]), ("y", &["z"]), ("z", &["x"])]);
        assert_eq!(order(&graph).unwrap_err(), ["x", "y", "z"]);
        assert_eq!(order(&edges(&[("a", &["a"])])).unwrap_err(), ["a"]);
    }
}
