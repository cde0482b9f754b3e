//! A configuration as TOML.

use serde::{Deserialize, Serialize};

use super::{Config, Ipv4Prefix, Match, SubInterface, is_yes, yes};
use crate::error::{ConfigError, LoadError};
use crate::startup_conf::place_of;

/// A sub-interface as the file has it: without `match` when that is what its number says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct SubInterfaceText {
    id: u32,
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    matching: Option<Match>,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    up: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtu: Option<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<Ipv4Prefix>,
}

/// What the number alone says, if it is a VLAN id.
fn implied(id: u32) -> Option<Match> {
    let vid = u16::try_from(id)
        .ok()
        .filter(|vid| (1..=4094).contains(vid))?;
    Some(Match::dot1q_exact(vid))
}

impl TryFrom<SubInterfaceText> for SubInterface {
    type Error = String;

    fn try_from(text: SubInterfaceText) -> Result<Self, String> {
        let matching = text.matching.or_else(|| implied(text.id)).ok_or_else(|| {
            let id = text.id;
            format!(
                "sub-interface {id} has no match and {id} is no VLAN id (1 to 4094); \
                 add one, for example match = \"dot1q 123 exact-match\""
            )
        })?;
        Ok(Self {
            id: text.id,
            matching,
            up: text.up,
            mtu: text.mtu,
            addresses: text.addresses,
        })
    }
}

impl From<SubInterface> for SubInterfaceText {
    fn from(sub: SubInterface) -> Self {
        Self {
            id: sub.id,
            matching: Some(sub.matching).filter(|matching| Some(*matching) != implied(sub.id)),
            up: sub.up,
            mtu: sub.mtu,
            addresses: sub.addresses,
        }
    }
}

impl Config {
    /// The configuration in a TOML text; `file` is its name in errors. It is valid in itself
    /// ([`Config::validate`]).
    ///
    /// # Errors
    /// Not TOML, an unknown key, a value of the wrong kind, or a configuration that is not valid.
    pub fn from_toml(text: &str, file: &str) -> Result<Self, LoadError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            LoadError::Parse {
                file: file.to_owned(),
                line,
                column,
                message: error.message().trim_end().replace('\n', ", "),
            }
        })?;
        match config.validate() {
            Ok(()) => Ok(config),
            Err(error) => Err(LoadError::Invalid {
                place: Some(place_of(&error, text, file)),
                error,
            }),
        }
    }

    /// The configuration as TOML, which [`Config::from_toml`] reads back.
    ///
    /// # Errors
    /// A path is not UTF-8.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Unprintable {
            why: error.to_string(),
        })
    }
}

/// Line and column, from 1, of an offset in octets.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[start..].chars().count() + 1)
}
