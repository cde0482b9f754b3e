//! `show http static server`.

use std::fmt;

use serde::Serialize;

use super::table::{right, seconds};
use crate::snapshot::{HttpSnapshot, Snapshot};

/// What `show http static server` is asked for; nothing: all but the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of the command"
)]
pub struct Parts {
    /// Who is connected.
    pub sessions: bool,
    /// The cache.
    pub cache: bool,
    /// Where it listens.
    pub listeners: bool,
    /// The cached files too.
    pub verbose: bool,
}

/// A connection to a server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HttpSession {
    /// The client.
    pub peer: String,
    /// Seconds since it connected.
    pub age: f64,
    /// Octets it sent.
    pub octets_in: u64,
    /// Octets it was sent.
    pub octets_out: u64,
}

/// A cached file.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CachedFile {
    /// Path below the www-root.
    pub path: String,
    /// Octets.
    pub octets: usize,
    /// Seconds since it was last asked for.
    pub age: f64,
}

/// What half, and 99 of 100, took at most, in seconds, to the width of a histogram's bucket;
/// nothing while nothing was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
}

impl Quantiles {
    fn of(latency: &http_static::Latency) -> Self {
        let quantile = |share| latency.quantile(share).map(|time| time.as_secs_f64());
        Self {
            p50: quantile(0.5),
            p99: quantile(0.99),
        }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(p50), Some(p99)) = (self.p50, self.p99) else {
            return f.write_str("p50 - p99 -");
        };
        write!(f, "p50 {:.4} ms p99 {:.4} ms", p50 * 1e3, p99 * 1e3)
    }
}

/// One server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HttpRow {
    /// Where it listens.
    pub uri: String,
    /// What it serves.
    pub www_root: String,
    /// Bound on the cache, in octets.
    pub cache_limit: usize,
    /// Octets in the cache.
    pub cache_used: usize,
    /// Files in the cache.
    pub cache_files: usize,
    /// Answered without reading a file.
    pub cache_hits: u64,
    /// Waited for a file.
    pub cache_misses: u64,
    /// Files given up for others.
    pub cache_evictions: u64,
    /// Connections so far.
    pub connections: u64,
    /// Connections now.
    pub active: u64,
    /// Responses by class, from 1xx to 5xx.
    pub responses: [u64; 5],
    /// Requests that could not be understood.
    pub malformed: u64,
    /// Connections ended by a time limit.
    pub timeouts: u64,
    /// Octets read from clients.
    pub octets_in: u64,
    /// Octets written to clients.
    pub octets_out: u64,
    /// Seconds from a request's head to the first octet of its response handed to TCP.
    pub first_octet: Quantiles,
    /// Seconds from a request's head to the last octet handed to TCP.
    pub request_duration: Quantiles,
    /// Cached files, if asked for.
    pub files: Vec<CachedFile>,
    /// Connections, if asked for.
    pub sessions: Vec<HttpSession>,
}

/// `show http static server`.
#[derive(Clone, Debug, Serialize)]
pub struct HttpTable {
    /// The servers.
    pub servers: Vec<HttpRow>,
    #[serde(skip)]
    parts: Parts,
}

impl HttpTable {
    /// The servers, and of them what `parts` says.
    pub fn of(snapshot: &Snapshot, parts: Parts) -> Self {
        let servers = snapshot.http.iter();
        Self {
            servers: servers.map(|one| row(snapshot, one, parts)).collect(),
            parts,
        }
    }
}

fn row(snapshot: &Snapshot, http: &HttpSnapshot, parts: Parts) -> HttpRow {
    let (server, stats) = (&http.server, &http.stats);
    let connections = snapshot
        .ports
        .iter()
        .flat_map(|port| &port.workers)
        .flat_map(|worker| &worker.connections)
        .filter(|one| {
            let own = server.address.is_unspecified() || server.address == *one.local.ip();
            own && one.local.port() == server.port
        });
    let sessions = connections.map(|one| HttpSession {
        peer: one.remote.to_string(),
        age: seconds(one.age),
        octets_in: one.octets_in,
        octets_out: one.octets_out,
    });
    let files = http.cache.iter().map(|file| CachedFile {
        path: file.path.clone(),
        octets: file.octets,
        age: seconds(file.used),
    });
    HttpRow {
        uri: format!("tcp://{}/{}", server.address, server.port),
        www_root: server.www_root.display().to_string(),
        cache_limit: stats.cache.limit,
        cache_used: stats.cache.used,
        cache_files: stats.cache.files,
        cache_hits: stats.cache.hits,
        cache_misses: stats.cache.misses,
        cache_evictions: stats.cache.evictions,
        connections: stats.connections,
        active: stats.active,
        responses: stats.responses,
        malformed: stats.malformed,
        timeouts: stats.timeouts,
        octets_in: stats.octets_received,
        octets_out: stats.octets_sent,
        first_octet: Quantiles::of(&stats.first_octet),
        request_duration: Quantiles::of(&stats.whole),
        files: if parts.verbose {
            files.collect()
        } else {
            Vec::new()
        },
        sessions: if parts.sessions {
            sessions.collect()
        } else {
            Vec::new()
        },
    }
}

impl fmt::Display for HttpTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.servers.is_empty() {
            return writeln!(f, "Static server disabled");
        }
        let Parts {
            sessions,
            cache,
            listeners,
            verbose,
        } = self.parts;
        let all = !(sessions || cache || listeners);
        for (nth, row) in self.servers.iter().enumerate() {
            if all || listeners {
                writeln!(
                    f,
                    "listener {nth}, uri {}, www-root {}, cache-size {}",
                    row.uri, row.www_root, row.cache_limit
                )?;
            }
            if all {
                let [_, ok, redirect, client, server] = row.responses;
                writeln!(
                    f,
                    "  responses 2xx {ok} 3xx {redirect} 4xx {client} 5xx {server} malformed {} \
                     timeouts {}",
                    row.malformed, row.timeouts
                )?;
                writeln!(
                    f,
                    "  connections {} active {} octets in {} out {}",
                    row.connections, row.active, row.octets_in, row.octets_out
                )?;
                writeln!(
                    f,
                    "  first octet {} request {}",
                    row.first_octet, row.request_duration
                )?;
            }
            if all || cache {
                writeln!(
                    f,
                    "cache size {} bytes, limit {} bytes, evictions {}, files {}, hits {}, \
                     misses {}",
                    row.cache_used,
                    row.cache_limit,
                    row.cache_evictions,
                    row.cache_files,
                    row.cache_hits,
                    row.cache_misses
                )?;
            }
            if verbose {
                writeln!(
                    f,
                    "{}{}{}",
                    right("File", 40),
                    right("Size", 12),
                    right("Age", 20)
                )?;
                for file in &row.files {
                    writeln!(
                        f,
                        "{}{}{}",
                        right(&file.path, 40),
                        right(file.octets, 12),
                        right(format_args!("{:.2}", file.age), 20)
                    )?;
                }
                let total = row.cache_used;
                writeln!(f, "{}{}", right("Total Size", 40), right(total, 12))?;
            }
            for one in &row.sessions {
                writeln!(
                    f,
                    " {} age {:.1} octets in {} out {}",
                    one.peer, one.age, one.octets_in, one.octets_out
                )?;
            }
        }
        Ok(())
    }
}
