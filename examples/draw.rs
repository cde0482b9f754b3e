//! Prints the graph of `dataplane serve`: a Mermaid flowchart and a table, as the README has them.
//!
//! `cargo run --example draw -p dataplane-examples`; with `-- --graphviz` for `dot`.
#![expect(clippy::print_stdout, reason = "it is what it is for")]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let graph = dataplane_examples::whole_graph()?;
    if std::env::args().any(|argument| argument == "--graphviz") {
        print!("{}", graph.graphviz());
        return Ok(());
    }
    println!("```mermaid\n{}```\n", dataplane_examples::picture(&graph));
    print!("{}", dataplane_examples::table(&graph));
    Ok(())
}
