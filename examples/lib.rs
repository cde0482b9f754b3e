//! What the examples share: the README's picture of the graph and its table of nodes, and the
//! reference of the configuration.
#![forbid(unsafe_code)]

pub mod schema;

use std::fmt::Write as _;
use std::sync::Arc;

use dataplane::{Graph, IfIndex};
use runtime::assemble::{AssembleError, Assembly};

/// The graph `dataplane serve` runs.
///
/// # Errors
/// When it cannot be made.
pub fn whole_graph() -> Result<Graph, AssembleError> {
    Ok(Assembly::new(
        IfIndex(1),
        ipstack::tcp::TcpConfig::default(),
        Arc::new(|| ()),
    )?
    .graph)
}

/// `graph` as a Mermaid flowchart, with the server at its end.
pub fn picture(graph: &Graph) -> String {
    let mut text = graph.mermaid();
    text.push_str("    http-static([\"http-static (hyper)\"])\n");
    text.push_str("    tcp4-input <-.->|byte streams| http-static\n");
    text
}

/// `graph` as a Markdown table: each node, its file, why it drops.
pub fn table(graph: &Graph) -> String {
    let mut text = String::from("| node | file | drops |\n|---|---|---|\n");
    for node in graph.nodes() {
        let file = file_of(node.type_name);
        let drops: Vec<String> = node.drops.iter().map(|drop| format!("`{drop}`")).collect();
        let drops = if drops.is_empty() {
            "nothing".to_owned()
        } else {
            drops.join(", ")
        };
        let _ = writeln!(text, "| `{}` | [`{file}`]({file}) | {drops} |", node.name);
    }
    text
}

/// The file a node lies in: the crate's folder, then its modules.
fn file_of(type_name: &str) -> String {
    let mut parts: Vec<&str> = type_name.split("::").collect();
    parts.pop(); // the type
    let folder = parts
        .first()
        .map(|name| name.replace('_', "-"))
        .unwrap_or_default();
    format!(
        "{folder}/src/{}.rs",
        parts.get(1..).unwrap_or(&[]).join("/")
    )
}

/// The walk-through of `CONTRIBUTING.md`, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../CONTRIBUTING.md")]
#[derive(Debug)]
pub struct Contributing;
