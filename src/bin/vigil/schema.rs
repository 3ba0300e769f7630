//! `vigil schema`: prints a published JSON Schema.

use std::io::Write;

use gstvigil::export::record;

/// Prints the schema of `what` on standard output; `record` is the one there is.
///
/// # Errors
/// A sentence for the user, if there is no such schema or it cannot be printed.
pub fn run(what: &str) -> Result<(), String> {
    if what != "record" {
        return Err(format!("there is no schema `{what}`; `vigil schema record` prints the one of exported records"));
    }
    std::io::stdout()
        .write_all(record::json_schema().as_bytes())
        .map_err(|e| format!("the schema could not be printed: {e}"))
}
