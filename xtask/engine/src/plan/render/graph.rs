//! PURE: what depends on what, as text, Mermaid, DOT or a document.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kit::manifest::Condition;
use serde::Serialize;

use crate::SCHEMA_VERSION;
use crate::plan::stack::Stack;

/// The graph as a document.
#[derive(Debug, Serialize)]
pub struct Graph<'a> {
    /// Version of this document.
    pub schema_version: u32,
    /// Process names so that each comes after those it depends on.
    pub order: &'a [String],
    /// Processes by name.
    pub processes: BTreeMap<&'a str, Node<'a>>,
}

/// One process of it.
#[derive(Debug, Serialize)]
pub struct Node<'a> {
    /// The service it belongs to.
    pub service: &'a str,
    /// Left out of `up`.
    pub disabled: bool,
    /// What comes first, and what must have happened to it.
    pub depends_on: &'a BTreeMap<String, Condition>,
}

/// The graph as a document.
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

/// One line a process, in the order of the start.
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

/// A flowchart for Mermaid: arrows lead from what comes first to what waits for it.
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

/// The same for Graphviz.
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

/// Indices into the order: what comes first, what waits, and for what.
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

/// Names hold letters, digits and `-` only: nothing has to be quoted.
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
