//! Prints the reference of the configuration file, `docs/configuration.md`.
//!
//! `cargo run -p dataplane-examples --example reference > docs/configuration.md`
#![expect(clippy::print_stdout, reason = "it is what it is for")]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print!("{}", dataplane_examples::schema::page()?);
    Ok(())
}
