//! The JSON schema of a manifest, derived from its types.
//!
//! There is one schema: editors read it from `docs/service.schema.json`, and [`super::shape`]
//! checks with it. Uses only the keywords that `shape` implements.

use std::sync::LazyLock;

use serde_json::Value;

use super::Manifest;

/// Returns the schema of `service.json`. An optional key may be absent; it may not be `null`.
pub fn schema() -> &'static Value {
    // Every manifest is checked against it.
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let mut schema = schemars::schema_for!(Manifest).to_value();
        refuse_null(&mut schema);
        schema
    });
    &SCHEMA
}

/// schemars lets every optional key be `null` as well; a manifest has one way to omit a value.
fn refuse_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.remove("anyOf") {
                for choice in choices {
                    if let Value::Object(choice) = choice
                        && choice.get("type").is_none_or(|name| name != "null")
                    {
                        object.extend(choice);
                    }
                }
            }
            object.values_mut().for_each(refuse_null);
        }
        Value::Array(items) => items.iter_mut().for_each(refuse_null),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_may_be_null() {
        let text = schema().to_string();
        assert!(!text.contains("\"null\""), "{text}");
        assert!(!text.contains("anyOf"), "{text}");
    }
}
