//! PURE: the graph of dependencies as text, Mermaid, DOT or a JSON document.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kit::manifest::Condition;
use serde::Serialize;

use crate::SCHEMA_VERSION;
use crate::plan::stack::Stack;

/// The graph as a JSON document.
#[derive(Debug, Serialize)]
pub struct Graph<'a> {
    /// Version of this document.
    pub schema_version: u32,
    /// Process names, each after its dependencies.
    pub order: &'a [String],
    /// Processes by name.
    pub processes: BTreeMap<&'a str, Node<'a>>,
}

/// A process in the graph.
#[derive(Debug, Serialize)]
pub struct Node<'a> {
    /// The service it belongs to.
    pub service: &'a str,
    /// Left out of `up`.
    pub disabled: bool,
    /// Its dependencies, each with the condition that must hold.
    pub depends_on: &'a BTreeMap<String, Condition>,
}

/// Returns the graph as a document.
pub fn document(stack: &Stack) -> Graph<'_> {
    let processes = stack.processes.iter().map(|(name, process)| {
        let node = Node {
            service: &process.service,
            disabled: process.disabled,
            depends_on: &process.depends_on,
        };
        (name.as_str(), node)
    });
    Graph {
        schema_version: SCHEMA_VERSION,
        order: &stack.order,
        processes: processes.collect(),
    }
}

/// Renders the graph as text, one line per process, in start order.
pub fn text(stack: &Stack) -> String {
    let width = stack.order.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for name in &stack.order {
        let process = &stack.processes[name];
        let waits = process.depends_on.iter();
        let waits: Vec<String> = waits
            .map(|(name, condition)| format!("{name} {}", happened(*condition)))
            .collect();
        let mut line = format!("{name:width$}");
        if !waits.is_empty() {
            add(&mut line, format_args!("  after {}", waits.join(", ")));
        }
        if process.disabled {
            line.push_str("  (disabled)");
        }
        add(&mut text, format_args!("{}\n", line.trim_end()));
    }
    text
}

/// Renders a flowchart for Mermaid; arrows lead from a dependency to its dependents.
pub fn mermaid(stack: &Stack) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for (index, name) in stack.order.iter().enumerate() {
        let label = label(stack, name);
        add(&mut text, format_args!("  p{index}[\"{label}\"]\n"));
    }
    for (from, to, condition) in edges(stack) {
        let happened = happened(condition);
        add(&mut text, format_args!("  p{from} -->|{happened}| p{to}\n"));
    }
    text
}

/// Renders the graph for Graphviz; arrows lead from a dependency to its dependents.
pub fn dot(stack: &Stack) -> String {
    let mut text = "digraph core {\n  rankdir=LR;\n".to_owned();
    for (index, name) in stack.order.iter().enumerate() {
        let label = label(stack, name);
        add(&mut text, format_args!("  p{index} [label=\"{label}\"];\n"));
    }
    for (from, to, condition) in edges(stack) {
        let happened = happened(condition);
        let edge = format_args!("  p{from} -> p{to} [label=\"{happened}\"];\n");
        add(&mut text, edge);
    }
    text.push_str("}\n");
    text
}

/// Returns the edges: the indices of a dependency and its dependent, and the condition.
fn edges(stack: &Stack) -> Vec<(usize, usize, Condition)> {
    let index = |wanted: &String| stack.order.iter().position(|name| name == wanted);
    let mut edges = Vec::new();
    for (to, name) in stack.order.iter().enumerate() {
        for (first, condition) in &stack.processes[name].depends_on {
            edges.extend(index(first).map(|from| (from, to, *condition)));
        }
    }
    edges
}

/// Names contain only letters, digits and `-`: they need no quotes.
fn label(stack: &Stack, name: &str) -> String {
    if stack.processes[name].disabled {
        format!("{name} (disabled)")
    } else {
        name.to_owned()
    }
}

fn happened(condition: Condition) -> &'static str {
    match condition {
        Condition::ProcessHealthy => "is healthy",
        Condition::ProcessStarted => "was started",
        Condition::ProcessCompleted => "ended",
        Condition::ProcessCompletedSuccessfully => "ended with 0",
    }
}

fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more)
        .expect("writing to a string cannot fail");
}
