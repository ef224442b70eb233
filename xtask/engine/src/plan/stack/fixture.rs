//! Small stacks for tests. Must not stand for what manifests resolve to: that is tested with
//! manifests.

use serde_json::{Value, json};

use super::Stack;

/// Returns a stack of processes in this order, each with what it depends on, in the form of a
/// manifest: `{"a": "process_healthy"}`. Each is a service of its own.
pub(crate) fn stack<const N: usize>(processes: [(&str, Value); N]) -> Stack {
    let order = processes.each_ref().map(|(name, _)| *name);
    let processes = processes.map(|(name, depends_on)| {
        let process = json!({
            "service": name, "disabled": false, "command": ["x"], "env": {}, "ports": {},
            "depends_on": depends_on,
            "restart": {"restart": "no", "backoff_seconds": 1, "max_restarts": 0},
            "shutdown": {"signal": 15, "timeout_seconds": 10, "parent_only": true},
            "log": {"max_size_mb": 20, "max_files": 5, "timestamps": true},
        });
        (name.to_owned(), process)
    });
    let processes = serde_json::Map::from_iter(processes);
    serde_json::from_value(json!({"processes": processes, "order": order.as_slice()})).unwrap()
}
