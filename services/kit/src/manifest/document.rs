//! Parses the text of a `service.json` into a checked manifest, with the line of every value.

use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::lines::{Lines, Problem};
use super::shape::Shape;
use super::{Manifest, check, schema};

/// A valid manifest, and the lines of its values.
#[derive(Debug, Clone)]
pub struct Document {
    /// The text as it was read.
    pub text: String,
    /// Its content.
    pub manifest: Manifest,
    /// The line of each key path.
    pub lines: Lines,
}

/// Parses and checks the text of a manifest. All problems are returned at once, in line order.
pub fn parse(text: &str) -> Result<Document, Vec<Problem>> {
    // Editors on Windows write a byte order mark first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let whole = |line, message: String| {
        vec![Problem {
            line,
            path: String::new(),
            message,
        }]
    };
    let parsed =
        parse_to_ast(text, &CollectOptions::default(), &strict_json()).map_err(|error| {
            whole(
                error.line_display(),
                format!("not valid JSON: {}", error.kind()),
            )
        })?;
    let Some(root) = parsed.value else {
        return Err(whole(1, "is empty; a manifest is a JSON object".to_owned()));
    };
    let schema = schema();
    let mut shape = Shape::new(text, schema);
    shape.check(&root, schema, "");
    let Shape {
        mut problems,
        lines,
        ..
    } = shape;
    if problems.is_empty() {
        let manifest: Manifest = serde_json::from_str(text)
            .map_err(|error| whole(error.line(), format!("cannot be read: {error}")))?;
        problems = check::check(&manifest, &lines);
        if problems.is_empty() {
            let text = text.to_owned();
            return Ok(Document {
                text,
                manifest,
                lines,
            });
        }
    }
    problems.sort();
    Err(problems)
}

fn strict_json() -> ParseOptions {
    ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}
