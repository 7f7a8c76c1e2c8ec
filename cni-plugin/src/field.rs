//! JSON values that know the key they were found under, so that every complaint names it.

use serde_json::Value;
use std::fmt::Display;
use std::str::FromStr;

/// A value that is missing or can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A key that must be there is not.
    #[error("{key}: missing")]
    Missing {
        /// The key, from the top of the document.
        key: String,
    },
    /// The value is not of the kind that the key takes.
    #[error("{key}: {value} is not {wanted}")]
    Kind {
        /// The key, from the top of the document.
        key: String,
        /// The value, shortened.
        value: String,
        /// What it should have been.
        wanted: &'static str,
    },
    /// The value is of the right kind, but not valid.
    #[error("{key}: {reason}")]
    Invalid {
        /// The key, from the top of the document.
        key: String,
        /// Why.
        reason: String,
    },
}

/// A JSON value and the key it was found under.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    value: &'a Value,
    key: String,
}

impl<'a> Field<'a> {
    /// The whole document.
    pub fn root(value: &'a Value) -> Self {
        Self { value, key: String::new() }
    }

    /// The key, from the top of the document: `ipam.addressTypes[1]`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value itself.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// The value of a key of this object; `None` if it is absent or null.
    pub fn get(&self, name: &str) -> Result<Option<Self>, FieldError> {
        let Value::Object(map) = self.value else { return Err(self.kind("an object")) };
        Ok(map.get(name).filter(|value| !value.is_null()).map(|value| Self { value, key: self.key_of(name) }))
    }

    /// The value of a key that must be there.
    pub fn require(&self, name: &str) -> Result<Self, FieldError> {
        self.get(name)?.ok_or_else(|| FieldError::Missing { key: self.key_of(name) })
    }

    /// The names of this object's keys.
    pub fn names(&self) -> Result<impl Iterator<Item = &'a str> + use<'a>, FieldError> {
        let Value::Object(map) = self.value else { return Err(self.kind("an object")) };
        Ok(map.keys().map(String::as_str))
    }

    /// The items of this list.
    pub fn items(&self) -> Result<Vec<Self>, FieldError> {
        let Value::Array(items) = self.value else { return Err(self.kind("a list")) };
        let item = |(at, value)| Self { value, key: format!("{}[{at}]", self.key) };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// This text.
    pub fn text(&self) -> Result<&'a str, FieldError> {
        self.value.as_str().ok_or_else(|| self.kind("a text"))
    }

    /// This text, parsed.
    pub fn parse<T: FromStr<Err: Display>>(&self) -> Result<T, FieldError> {
        let text = self.text()?;
        text.parse().map_err(|error| self.invalid(format!("{}: {error}", shortened(self.value))))
    }

    /// This list of texts.
    pub fn texts(&self) -> Result<Vec<String>, FieldError> {
        self.items()?.iter().map(|item| item.text().map(str::to_owned)).collect()
    }

    /// An error that says why this value is not valid.
    pub fn invalid(&self, reason: impl Into<String>) -> FieldError {
        FieldError::Invalid { key: self.key.clone(), reason: reason.into() }
    }

    /// An error that says that this value is not of the kind wanted.
    pub fn kind(&self, wanted: &'static str) -> FieldError {
        let key = if self.key.is_empty() { "the document".to_owned() } else { self.key.clone() };
        FieldError::Kind { key, value: shortened(self.value), wanted }
    }

    fn key_of(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }
}

/// A value as a message shows it: at most some 80 bytes of it.
pub fn shortened(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > 80 {
        text.truncate(text.floor_char_boundary(77));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_complaint_names_the_key() {
        let document = json!({"a": {"b": [1, "x"]}, "n": null});
        let root = Field::root(&document);
        let list = root.require("a").and_then(|a| a.require("b")).expect("there");
        let items = list.items().expect("list");
        assert_eq!(items[0].text().expect_err("number").to_string(), "a.b[0]: 1 is not a text");
        let error = items[1].parse::<u8>().expect_err("not a number").to_string();
        assert_eq!(error, "a.b[1]: \"x\": invalid digit found in string");
        assert_eq!(root.require("n").expect_err("null").to_string(), "n: missing");
        assert_eq!(list.get("z").expect_err("list").to_string(), "a.b: [1,\"x\"] is not an object");
        let number = json!(5);
        let error = Field::root(&number).get("z").expect_err("number");
        assert_eq!(error.to_string(), "the document: 5 is not an object");
    }

    #[test]
    fn long_values_are_shortened_between_characters() {
        let text = shortened(&json!("é".repeat(100)));
        assert!(text.len() <= 82 && text.ends_with('…'), "{text}");
    }
}
