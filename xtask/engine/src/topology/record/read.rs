//! PURE: parses records and entries of the history from an answer of PocketBase, each on its own.
//!
//! What a user wrote into one record must not hide the others, and an invalid field must not hide
//! the rest of its record. So an answer is split without parsing its values, and what is invalid is
//! named in [`Record::problem`].

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use service_nats::topology::Origin;

use super::{Entry, Record, State};

/// A page of a list. Its values may be nested to any depth.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// Returns every record of a page. A record without an `id` cannot be written, so it is left out.
pub(super) fn records(body: &[u8]) -> serde_json::Result<Vec<Record>> {
    let page: Page<'_> = serde_json::from_slice(body)?;
    Ok(page.items.into_iter().filter_map(record).collect())
}

/// Returns the record in the answer to its change.
pub(super) fn one_record(body: &[u8]) -> serde_json::Result<Record> {
    let value: &RawValue = serde_json::from_slice(body)?;
    record(value).ok_or_else(|| serde::de::Error::missing_field("id"))
}

/// Returns every entry of the history in a page. Invalid fields of an entry are left out.
pub(super) fn entries(body: &[u8]) -> serde_json::Result<Vec<Entry>> {
    let page: Page<'_> = serde_json::from_slice(body)?;
    Ok(page.items.into_iter().map(entry).collect())
}

fn record(value: &RawValue) -> Option<Record> {
    let mut fields = Fields::of(value);
    let id: String = fields.take("id").filter(|id: &String| !id.is_empty())?;
    Some(Record {
        id,
        service: fields.take("service").unwrap_or_default(),
        spec: fields.take("spec").unwrap_or_default(),
        // A manifest's record is rewritten from it: an invalid origin must not count as one.
        origin: fields.take("origin").unwrap_or(Origin::User),
        move_streams: fields.take("move_streams").unwrap_or_default(),
        generation: fields.take("generation").unwrap_or_default(),
        // An invalid status counts as missing: the record is evaluated again.
        status: fields.lenient("status").unwrap_or_default(),
        problem: fields.problem,
    })
}

fn entry(value: &RawValue) -> Entry {
    let fields = Fields::of(value);
    Entry {
        service: fields.lenient("service").unwrap_or_default(),
        generation: fields.lenient("generation").unwrap_or_default(),
        origin: fields.lenient("origin").unwrap_or(Origin::User),
        spec: fields.lenient("spec").unwrap_or_default(),
        state: fields.lenient("state").unwrap_or(State::Pending),
        message: fields.lenient("message").unwrap_or_default(),
        created: fields.lenient("created").unwrap_or_default(),
    }
}

/// The fields of a record, and the first problem with them.
struct Fields<'a> {
    by_name: BTreeMap<String, &'a RawValue>,
    problem: Option<String>,
}

impl<'a> Fields<'a> {
    fn of(value: &'a RawValue) -> Self {
        Self {
            by_name: serde_json::from_str(value.get()).unwrap_or_default(),
            problem: None,
        }
    }

    /// Returns a field; `None` if it is missing, or invalid, which is recorded.
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.by_name.get(name)?;
        match serde_json::from_str(value.get()) {
            Ok(value) => Some(value),
            Err(error) => {
                let problem = format!("`{name}` cannot be understood: {}", because(&error));
                self.problem.get_or_insert(problem);
                None
            }
        }
    }

    /// Returns a field that may be invalid, without recording a problem.
    fn lenient<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.by_name.get(name)?.get()).ok()
    }
}

/// Returns the parser's reason, without a position in a text that the user does not see.
fn because(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text);
    match reason {
        "recursion limit exceeded" => "it is nested too deeply".to_owned(),
        reason => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deep(levels: usize) -> String {
        format!("{}1{}", "[".repeat(levels), "]".repeat(levels))
    }

    fn page(items: &[String]) -> String {
        format!("{{\"items\":[{}],\"page\":1}}", items.join(","))
    }

    fn raw(id: &str, fields: &str) -> String {
        format!("{{\"id\":\"{id}\",\"service\":\"nats\",\"origin\":\"user\",{fields}}}")
    }

    #[test]
    fn one_bad_record_hides_neither_the_others_nor_itself() {
        let good = raw(
            "a",
            "\"spec\":{\"topology\":\"single-node\"},\"generation\":3",
        );
        let bad = [
            ("spec", format!("\"spec\":{}", deep(300))),
            ("spec", format!("\"spec\":{}", deep(9000))),
            ("spec", "\"spec\":1e400".to_owned()),
            ("spec", "\"spec\":\"\\ud800\"".to_owned()),
            ("origin", "\"origin\":\"nobody\",\"spec\":{}".to_owned()),
            ("generation", "\"generation\":-1".to_owned()),
            ("generation", "\"generation\":1e21".to_owned()),
            ("move_streams", "\"move_streams\":[true]".to_owned()),
        ];
        for (field, text) in bad {
            let text = text.replace("\"origin\":\"user\",\"origin\"", "\"origin\"");
            let body = page(&[raw("b", &text), good.clone()]);
            let records = records(body.as_bytes()).unwrap();
            assert_eq!(records.len(), 2, "{text:.40}");
            let problem = records[0].problem.as_deref().unwrap_or_default();
            let expected = format!("`{field}` cannot be understood");
            assert!(problem.starts_with(&expected), "{text:.40}: {problem}");
            assert_eq!((&*records[1].id, records[1].generation), ("a", 3));
            assert_eq!(records[1].problem, None);
        }
    }

    #[test]
    fn what_has_no_id_is_left_out_and_what_is_no_page_is_an_error() {
        let body = page(&["{}".to_owned(), "7".to_owned(), "{\"id\":7}".to_owned()]);
        assert!(records(body.as_bytes()).unwrap().is_empty());
        assert!(records(b"<html>").is_err());
        assert!(records(b"{\"items\":{}}").is_err());
        assert!(one_record(b"{}").is_err());
    }

    #[test]
    fn a_strange_status_is_no_problem_of_the_record() {
        let status = format!("\"spec\":{{}},\"status\":{}", deep(500));
        let record = one_record(raw("a", &status).as_bytes()).unwrap();
        assert_eq!(
            (record.problem.as_deref(), record.state()),
            (None, State::Pending)
        );
    }

    #[test]
    fn a_line_of_the_history_shows_what_can_be_read_of_it() {
        let line = raw("a", &format!("\"state\":\"failed\",\"spec\":{}", deep(400)));
        let odd = raw("b", "\"state\":\"exploded\",\"message\":[]");
        let entries = entries(page(&[line, odd]).as_bytes()).unwrap();
        assert_eq!(entries[0].state, State::Failed);
        assert_eq!(entries[0].spec, json!(null));
        assert_eq!(entries[1].state, State::Pending);
    }
}
