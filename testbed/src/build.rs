//! The server's binary, for programs that run it.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The path of the server that was `given`; without one, has cargo build ours, which `say` tells.
///
/// # Errors
/// There is none at that path; there is no cargo, or the server cannot be built.
pub fn server(given: Option<&Path>, say: impl FnOnce(&str)) -> Result<PathBuf, Box<dyn Error>> {
    if let Some(server) = given {
        return std::fs::canonicalize(server)
            .map_err(|error| format!("--server {}: {error}", server.display()).into());
    }
    say("building the server: cargo build --release --bin dataplane");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(cargo)
        .args(["build", "--release", "--bin", "dataplane"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the server could not be built".into());
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "dataplane")
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    executable.ok_or_else(|| "cargo did not say where the server is".into())
}
