//! The fields of an object, taken one by one.
//!
//! Invariant: every field is taken once; what is left over when the object is finished is an error.

use serde_json::{Map, Value as Json};

use crate::entry::{Condition, Version};

/// A part of a line, or what is wrong with it.
pub(super) type Parsed<T> = std::result::Result<T, String>;

/// The fields of an object that were not taken yet.
pub(super) struct Fields {
    what: &'static str,
    map: Map<String, Json>,
}

impl Fields {
    pub(super) fn of(json: Json, what: &'static str) -> Parsed<Self> {
        match json {
            Json::Object(map) => Ok(Self { what, map }),
            _ => Err(format!("{what} must be an object")),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Json> {
        self.map.swap_remove(name)
    }

    pub(super) fn finish(&self) -> Parsed<()> {
        match self.map.keys().next() {
            Some(name) => Err(format!("{} has no field {name:?}", self.what)),
            None => Ok(()),
        }
    }

    fn needs<T>(&self, name: &str, found: Option<T>) -> Parsed<T> {
        found.ok_or_else(|| format!("{} needs the field {name}", self.what))
    }

    pub(super) fn optional_number(&mut self, name: &str) -> Parsed<Option<u64>> {
        let number = self.take(name);
        let wrong = || format!("{name} must be a whole number, 0 or more");
        number.map(|number| number.as_u64().ok_or_else(wrong)).transpose()
    }

    pub(super) fn number(&mut self, name: &str) -> Parsed<u64> {
        let number = self.optional_number(name)?;
        self.needs(name, number)
    }

    pub(super) fn small_number(&mut self, name: &str) -> Parsed<u32> {
        u32::try_from(self.number(name)?).map_err(|_| format!("{name} is too large"))
    }

    pub(super) fn optional_text(&mut self, name: &str) -> Parsed<Option<String>> {
        match self.take(name) {
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name} must be a string")),
            None => Ok(None),
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Parsed<String> {
        let text = self.optional_text(name)?;
        self.needs(name, text)
    }

    pub(super) fn flag(&mut self, name: &str) -> Parsed<bool> {
        match self.take(name) {
            Some(Json::Bool(flag)) => Ok(flag),
            _ => Err(format!("{} needs the field {name}, true or false", self.what)),
        }
    }

    pub(super) fn optional_object(&mut self, name: &'static str) -> Parsed<Option<Self>> {
        self.take(name).map(|json| Self::of(json, name)).transpose()
    }

    pub(super) fn optional_list(&mut self, name: &str) -> Parsed<Option<Vec<Json>>> {
        match self.take(name) {
            Some(Json::Array(items)) => Ok(Some(items)),
            Some(_) => Err(format!("{name} must be an array")),
            None => Ok(None),
        }
    }

    /// Bytes as text, or in hexadecimal; none are empty.
    pub(super) fn bytes(&mut self, name: &str) -> Parsed<Vec<u8>> {
        let hex_name = format!("{name}_hex");
        match (self.optional_text(name)?, self.optional_text(&hex_name)?) {
            (Some(text), None) => Ok(text.into_bytes()),
            (None, Some(hex)) => {
                from_hex(&hex).ok_or_else(|| format!("{hex_name} is not hexadecimal"))
            }
            (None, None) => Ok(Vec::new()),
            (Some(_), Some(_)) => Err(format!("{name} and {hex_name} are the same")),
        }
    }

    pub(super) fn optional_version(&mut self, name: &str) -> Parsed<Option<Version>> {
        let text = self.optional_text(name)?;
        let version = text.map(|text| Version::parse(&text)).transpose();
        version.map_err(|error| format!("{name}: {}", error.message()))
    }

    pub(super) fn version(&mut self, name: &str) -> Parsed<Version> {
        let version = self.optional_version(name)?;
        self.needs(name, version)
    }

    pub(super) fn condition(&mut self) -> Parsed<Condition> {
        match (self.take("if_absent"), self.optional_version("if_version")?) {
            (None, None) => Ok(Condition::None),
            (Some(Json::Bool(true)), None) => Ok(Condition::Absent),
            (None, Some(version)) => Ok(Condition::Version(version)),
            _ => Err("there is if_absent, which is true, or if_version, or neither".to_owned()),
        }
    }

    pub(super) fn epoch(&mut self) -> Parsed<u64> {
        let text = self.text("epoch")?;
        let epoch = u64::from_str_radix(&text, 16).ok();
        let epoch = epoch.filter(|epoch| format!("{epoch:016x}") == text);
        epoch.ok_or_else(|| "epoch must be 16 hexadecimal digits".to_owned())
    }
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| is_hex(&byte)) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2).map(|start| &text[start..start + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}
