//! Embeds the manifest without its topology.
//!
//! The orchestration reads the topology anew whenever it changes. In the wrapper's own bytes it
//! would make a changed topology a changed program, which is restarted.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=service.json");
    let mut manifest: Value = serde_json::from_str(&fs::read_to_string("service.json")?)?;
    if let Some(Value::Object(config)) = manifest.get_mut("config") {
        config.remove("topology");
        config.remove("deployment");
    }
    let directory = env::var("OUT_DIR")?;
    let text = format!("{manifest:#}\n");
    fs::write(Path::new(&directory).join("service.json"), text)?;
    Ok(())
}
