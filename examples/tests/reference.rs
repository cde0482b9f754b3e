//! `docs/configuration.md` is what the code prints, and its defaults are those of the code.
#![expect(clippy::panic, reason = "a test")]

use runtime::Config;

const PAGE: &str = include_str!("../../docs/configuration.md");

#[test]
fn the_page_is_the_one_the_code_prints() {
    assert_eq!(
        PAGE,
        dataplane_examples::schema::page().unwrap(),
        "run `cargo run -p dataplane-examples --example reference > docs/configuration.md`"
    );
}

/// The shortest file with a table of the section in it, to which a key can be added.
fn shortest(section: &str) -> &'static str {
    match section {
        "At the top" => "",
        "`[log]`" => "[log]",
        "`[[interface]]`" => "[[interface]]\nname = \"a\"",
        "`[[interface.sub-interface]]`" => {
            "[[interface]]\nname = \"a\"\n[[interface.sub-interface]]\nid = 7"
        }
        "`[[http]]`" => "[[http]]\nwww-root = \"/www\"",
        section => panic!("{section} has a default that is checked nowhere"),
    }
}

#[test]
fn a_default_written_out_changes_nothing() {
    let (mut section, mut checked) = ("", 0);
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading;
        }
        let cells: Vec<_> = line.split(" | ").collect();
        let [key, _, default, ..] = cells.as_slice() else {
            continue;
        };
        // Defaults in words are not values.
        let Some(value) = default
            .strip_prefix('`')
            .and_then(|default| default.strip_suffix('`'))
        else {
            continue;
        };
        let key = key.trim_start_matches("| ").trim_matches('`');
        let value = value.replace("ID", "7");
        let without = shortest(section);
        let with = format!("{without}\n{key} = {value}");
        assert_eq!(
            Config::from_toml(&with, "f").unwrap(),
            Config::from_toml(without, "f").unwrap(),
            "{with}"
        );
        checked += 1;
    }
    assert!(checked >= 10, "only {checked} defaults were found");
}
