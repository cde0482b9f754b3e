//! The README's picture and table are those of the code.
#![expect(clippy::unwrap_used, reason = "a test")]

const README: &str = include_str!("../../README.md");

/// What stands between `<!-- name ... -->` and `<!-- /name -->`.
fn section(name: &str) -> &'static str {
    let open = README.find(&format!("<!-- {name}")).unwrap();
    let start = open + README[open..].find("-->").unwrap() + 3;
    let end = start + README[start..].find(&format!("<!-- /{name} -->")).unwrap();
    README[start..end].trim()
}

#[test]
fn the_picture_is_the_one_the_code_prints() {
    let graph = dataplane_examples::whole_graph().unwrap();
    let picture = format!("```mermaid\n{}```", dataplane_examples::picture(&graph));
    assert_eq!(
        section("graph"),
        picture,
        "run `cargo run -p dataplane-examples --example draw`"
    );
}

#[test]
fn the_table_has_every_node_its_file_and_its_drops() {
    let graph = dataplane_examples::whole_graph().unwrap();
    let table = dataplane_examples::table(&graph);
    assert_eq!(
        section("nodes"),
        table.trim(),
        "run `cargo run -p dataplane-examples --example draw`"
    );
}

#[test]
fn every_file_in_the_table_exists_and_says_which_node_it_is() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap();
    for row in section("nodes").lines().skip(2) {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let node = cells.next().unwrap().trim_matches('`');
        let file = cells.next().unwrap().split('`').nth(1).unwrap();
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(
            text.starts_with(&format!("//! `{node}`")),
            "{file} does not open with `{node}`"
        );
    }
}
