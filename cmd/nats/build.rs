//! Embeds the manifest without its topology.
//!
//! The orchestration reads the topology again whenever it changes. In the wrapper's own bytes, a
//! changed topology would be a changed program, which is restarted. Must not judge the file, which
//! is a user's: if it cannot be parsed, it is embedded unchanged, and `cargo xtask` refuses it with
//! the line. Belongs to the program and not to the library, which xtask depends on.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::Value;

const MANIFEST: &str = "services/nats/service.json";

fn main() -> Result<(), Box<dyn Error>> {
    let package = env::var("CARGO_MANIFEST_DIR")?;
    let root = Path::new(&package).ancestors().nth(2);
    let file = root.ok_or("the package lies in `cmd/`")?.join(MANIFEST);
    println!("cargo::rerun-if-changed={}", file.display());
    let text = fs::read_to_string(&file).unwrap_or_default();
    let directory = env::var("OUT_DIR")?;
    fs::write(Path::new(&directory).join("service.json"), embedded(text))?;
    Ok(())
}

fn embedded(text: String) -> String {
    let plain = text.trim_start_matches('\u{feff}');
    let Ok(mut manifest) = serde_json::from_str::<Value>(plain) else {
        return text;
    };
    if let Some(Value::Object(config)) = manifest.get_mut("config") {
        config.remove("topology");
        config.remove("deployment");
    }
    format!("{manifest:#}\n")
}
