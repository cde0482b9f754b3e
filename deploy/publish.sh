#!/usr/bin/env bash
# A dry run of publishing every crate. cargo finds the order in which they depend on each other, builds
# each from its package alone, and uploads nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo publish --workspace --dry-run --locked "$@"
