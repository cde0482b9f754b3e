//! The reference of the configuration file, from the types that read it.
//!
//! serde asks those types which keys they know and what kind of value each takes; what a key is
//! for stands in the documentation of `runtime::config`. A key that is missing on either side is
//! an error.

use std::fmt::{self, Write as _};

use runtime::config::{self, Config};
use serde::Deserialize as _;
use serde::de::value::{Error as Stop, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, Expected, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// What the documentation says of the keys.
const SOURCE: &str = include_str!("../runtime/src/config.rs");

/// Why there is no reference: the types and their documentation disagree.
#[derive(Debug)]
pub struct Disagreement(String);

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Disagreement {}

/// A value somewhere in the configuration, as its type describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Table(&'static [&'static str]),
    OneOf(&'static [&'static str]),
    Plain(&'static str),
    Expected(String),
}

/// Follows `path` into the type that is being read, and notes what is there.
struct Probe<'a> {
    path: &'a [&'static str],
    list: &'a mut bool,
    shape: &'a mut Option<Shape>,
}

impl Probe<'_> {
    fn note(self, shape: Shape) -> Stop {
        *self.shape = Some(shape);
        Stop::custom("seen")
    }
}

macro_rules! plain {
    ($($method:ident)* = $kind:literal) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
            Err(self.note(Shape::Plain($kind)))
        })*
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Stop;

    plain!(deserialize_bool = "true or false");
    plain!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 = "number");
    plain!(deserialize_str deserialize_string = "text");

    /// What can be more than one kind of value says itself what it expects.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let expected: &dyn Expected = &visitor;
        let expected = expected.to_string();
        Err(self.note(Shape::Expected(expected)))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        *self.list = self.path.is_empty();
        visitor.visit_seq(Inside(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Stop> {
        Err(self.note(Shape::OneOf(variants)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if self.path.is_empty() {
            return Err(self.note(Shape::Table(fields)));
        }
        visitor.visit_map(Inside(self))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct map
        identifier ignored_any
    }
}

/// The one element of a list, or the one key of a table, that the path goes through.
struct Inside<'a>(Probe<'a>);

impl<'de> SeqAccess<'de> for Inside<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        let Probe { path, list, shape } = &mut self.0;
        seed.deserialize(Probe { path, list, shape }).map(Some)
    }
}

impl<'de> MapAccess<'de> for Inside<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        let Some(key) = self.0.path.first() else {
            return Ok(None);
        };
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let Probe { path, list, shape } = &mut self.0;
        let path = path.get(1..).unwrap_or_default();
        seed.deserialize(Probe { path, list, shape })
    }
}

/// What is at `path`, and whether it is a list of those.
fn look(path: &[&'static str]) -> Option<(Shape, bool)> {
    let (mut list, mut shape) = (false, None);
    let probe = Probe {
        path,
        list: &mut list,
        shape: &mut shape,
    };
    let _ = Config::deserialize(probe);
    shape.map(|shape| (shape, list))
}

/// A key, as the reference has it.
struct Key {
    path: Vec<&'static str>,
    kind: String,
}

/// Every key at and below `path`, in the order the types have them.
fn keys(path: &[&'static str], found: &mut Vec<Key>) {
    match look(path) {
        Some((Shape::Table(fields), _)) => {
            for field in fields {
                keys(&[path, &[*field]].concat(), found);
            }
        }
        Some((shape, list)) => {
            let kind = match shape {
                Shape::OneOf(values) => {
                    let values: Vec<_> = values.iter().map(|one| format!("`\"{one}\"`")).collect();
                    values.join(", ")
                }
                Shape::Plain(kind) => kind.to_owned(),
                Shape::Expected(kind) => kind.replace('|', "\\|"),
                Shape::Table(_) => String::new(),
            };
            let kind = if list {
                format!("list of {kind}")
            } else {
                kind
            };
            found.push(Key {
                path: path.to_vec(),
                kind,
            });
        }
        None => {}
    }
}

/// A row of the documentation's table.
struct Told {
    path: String,
    default: String,
    meaning: String,
}

/// The rows of the documentation's table, one for each key.
fn told() -> Vec<Told> {
    let mut rows: Vec<Told> = Vec::new();
    let mut section = String::new();
    for line in SOURCE.lines().filter_map(|line| line.strip_prefix("//! |")) {
        let line = line.replace("\\|", "\u{0}");
        let cells: Vec<String> = line
            .split('|')
            .map(|cell| cell.trim().replace('\u{0}', "\\|"))
            .collect();
        let [names, default, meaning, ..] = cells.as_slice() else {
            continue;
        };
        if let Some(name) = names
            .strip_prefix("**`")
            .and_then(|name| name.strip_suffix("`**"))
        {
            section = format!("{}.", name.trim_matches(['[', ']']));
        } else if names.starts_with('`') {
            for name in names.split(", ").map(|name| name.trim_matches('`')) {
                let same = |row: &&Told| {
                    meaning == "as above" && row.path.rsplit('.').next() == Some(name)
                };
                let (default, meaning) = rows.iter().rfind(same).map_or_else(
                    || (default.clone(), plain(meaning)),
                    |row| {
                        let default = if default.is_empty() {
                            &row.default
                        } else {
                            default
                        };
                        (default.clone(), row.meaning.clone())
                    },
                );
                rows.push(Told {
                    path: format!("{section}{name}"),
                    default,
                    meaning,
                });
            }
        }
    }
    rows
}

/// `text` without links that only rustdoc can follow.
fn plain(text: &str) -> String {
    match text.split_once(", see [`") {
        Some((text, _)) => text.to_owned(),
        None => text.replace("[`", "`").replace("`]", "`"),
    }
}

/// The limits the configuration is checked against.
fn limits() -> String {
    let rows: [(&str, String); 10] = [
        (
            "octets of a configuration file",
            config::CONFIG_FILE_MAX.to_string(),
        ),
        ("host interfaces", config::HOST_INTERFACES_MAX.to_string()),
        ("workers of an interface", config::WORKERS_MAX.to_string()),
        (
            "memory of a worker's receive ring",
            config::RING_MEMORY_MAX.to_string(),
        ),
        (
            "sub-interfaces, over all interfaces",
            config::SUB_INTERFACES_MAX.to_string(),
        ),
        (
            "addresses of an interface",
            config::ADDRESSES_MAX.to_string(),
        ),
        ("routes", config::ROUTES_MAX.to_string()),
        ("neighbours", config::NEIGHBORS_MAX.to_string()),
        ("HTTP servers", config::HTTP_SERVERS_MAX.to_string()),
        ("`max-req-body-size`", config::REQUEST_BODY_MAX.to_string()),
    ];
    let mut text = String::from("| of these | at most |\n|---|---|\n");
    for (what, most) in rows {
        let _ = writeln!(text, "| {what} | {most} |");
    }
    text
}

/// The keys as Markdown: a heading and a table for each section.
///
/// # Errors
/// When a key has no row in the documentation, or a row no key.
pub fn sections() -> Result<String, Disagreement> {
    let (mut found, told) = (Vec::new(), told());
    keys(&[], &mut found);
    let path = |key: &Key| key.path.join(".");
    if let Some(row) = told
        .iter()
        .find(|row| !found.iter().any(|key| path(key) == row.path))
    {
        let name = &row.path;
        return Err(Disagreement(format!(
            "runtime::config documents {name}, which no type reads"
        )));
    }
    let mut text = String::new();
    let mut section = None;
    for key in &found {
        let name = path(key);
        let row = told.iter().find(|row| row.path == name).ok_or_else(|| {
            Disagreement(format!(
                "the documentation of runtime::config does not mention {name}"
            ))
        })?;
        // `ring` is a table of the interface, not a section of its own.
        let depth = key.path.len() - 1 - usize::from(key.path.contains(&"ring"));
        let (of, rest) = key.path.split_at(depth);
        if section != Some(of) {
            section = Some(of);
            let list = look(of).is_some_and(|(_, list)| list);
            let heading = match of {
                [] => "At the top".to_owned(),
                _ if list => format!("`[[{}]]`", of.join(".")),
                _ => format!("`[{}]`", of.join(".")),
            };
            let _ = write!(
                text,
                "\n## {heading}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
            );
        }
        let (kind, default, meaning) = (&key.kind, &row.default, &row.meaning);
        let _ = writeln!(
            text,
            "| `{}` | {kind} | {default} | {meaning} |",
            rest.join(".")
        );
    }
    Ok(text)
}

/// The whole page `docs/configuration.md`.
///
/// # Errors
/// As [`sections`].
pub fn page() -> Result<String, Disagreement> {
    let example: Vec<&str> = SOURCE
        .lines()
        .map(|line| line.trim_start_matches("//!").trim_start())
        .skip_while(|line| *line != "```toml")
        .skip(1)
        .take_while(|line| *line != "```")
        .collect();
    Ok(format!(
        "{INTRODUCTION}\n```toml check\n{}\n```\n{}\n## Limits\n\nMore is refused.\n\n{}",
        example.join("\n"),
        sections()?,
        limits()
    ))
}

const INTRODUCTION: &str = "<!-- printed by `cargo run -p dataplane-examples --example reference`; a test fails when it is stale -->
# Configuration

The keys of the TOML file, for `dataplane serve --config FILE`. Flags and VPP's commands say the
same things in their own words: `dataplane check --print toml` shows what they come to.

Sizes are numbers of octets or `\"10k\"`, `\"512m\"`, `\"1g\"`; times are seconds or `\"60s\"`, `\"10m\"`,
`\"1h\"`. A key that is not listed here is an error, so that a misspelt one cannot be missed.
";
