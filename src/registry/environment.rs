//! Values from the environment: `${env:NAME}` and `${env:NAME:-default}` within any string of a
//! configuration.
//!
//! A variable that is not set is an error unless there is a default; with a default an empty
//! variable counts as not set, as in a shell. `$${` is a literal `${`. What a variable or a default
//! holds is taken as it is: nothing is looked up in it again.

use std::collections::BTreeMap;
use std::env::VarError;

/// Where the values of `${env:NAME}` come from.
#[derive(Clone, Debug, Default)]
pub enum Environment {
    /// The environment of the process, read while the configuration is loaded.
    #[default]
    Process,
    /// These variables and no others: for tests and for hosts with an environment of their own.
    Fixed(BTreeMap<String, String>),
}

impl Environment {
    /// A variable for which there is something else if it is not set, or no text.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.value(name).ok().flatten()
    }

    fn value(&self, name: &str) -> Result<Option<String>, String> {
        match self {
            Self::Fixed(variables) => Ok(variables.get(name).cloned()),
            Self::Process => match std::env::var(name) {
                Ok(value) => Ok(Some(value)),
                Err(VarError::NotPresent) => Ok(None),
                Err(VarError::NotUnicode(_)) => Err(format!(
                    "the environment variable {name} is not UTF-8; set it to text in UTF-8"
                )),
            },
        }
    }

    /// The text with its variables written out; none if there is nothing to write out.
    ///
    /// # Errors
    /// What is wrong with a variable, as a sentence.
    pub(super) fn substitute(&self, text: &str) -> Result<Option<String>, String> {
        let Some(first) = text.find("${") else {
            return Ok(None);
        };
        let (mut result, mut rest) = (text[..first].to_owned(), &text[first..]);
        while let Some(start) = rest.find("${") {
            result.push_str(&rest[..start]);
            rest = &rest[start + 2..];
            if result.ends_with('$') {
                result.push('{');
                continue;
            }
            let end = rest.find('}').ok_or("${ has no closing brace; write ${env:NAME}")?;
            result.push_str(&self.reference(&rest[..end])?);
            rest = &rest[end + 1..];
        }
        result.push_str(rest);
        Ok(Some(result))
    }

    /// The value of what stands between the braces.
    fn reference(&self, inner: &str) -> Result<String, String> {
        let Some(variable) = inner.strip_prefix("env:") else {
            return Err(format!(
                "${{{inner}}} is unknown: write ${{env:NAME}} for an environment variable, or \
                 $${{ for a literal ${{"
            ));
        };
        let (name, default) = match variable.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (variable, None),
        };
        let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() || !name.bytes().all(is_inner) {
            return Err(format!(
                "{name:?} is no name of an environment variable: it has letters, digits and '_', \
                 and does not start with a digit"
            ));
        }
        match (self.value(name)?, default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(format!(
                "the environment variable {name} is not set; set it, or give a default with \
                 ${{env:{name}:-default}}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed() -> Environment {
        let pairs = [("NAME", "value"), ("EMPTY", ""), ("TRICK", "${env:NAME}"), ("_a1", "x")];
        Environment::Fixed(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into())
    }

    #[test]
    fn variables_are_written_out() {
        let table = [
            ("plain", None),
            ("a $ b {c} $x", None),
            ("${env:NAME}", Some("value")),
            ("a/${env:NAME}/${env:_a1}.db", Some("a/value/x.db")),
            ("${env:EMPTY}", Some("")),
            ("${env:EMPTY:-full}", Some("full")),
            ("${env:NAME:-full}", Some("value")),
            ("${env:MISSING:-}", Some("")),
            ("${env:MISSING:-a:-b c}", Some("a:-b c")),
            ("${env:TRICK}", Some("${env:NAME}")),
            ("${env:MISSING:-${env:NAME}", Some("${env:NAME")),
            ("$${env:NAME}", Some("${env:NAME}")),
            ("$${a} ${env:NAME} $${", Some("${a} value ${")),
        ];
        for (text, expected) in table {
            assert_eq!(fixed().substitute(text), Ok(expected.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_variable_is_said() {
        let table = [
            ("${env:MISSING}", "MISSING is not set; set it, or give a default"),
            ("${env:NAME", "no closing brace"),
            ("${HOME}", "${HOME} is unknown: write ${env:NAME}"),
            ("${}", "${} is unknown"),
            ("${env:}", "\"\" is no name"),
            ("${env:1A}", "\"1A\" is no name"),
            ("${env:A B:-x}", "\"A B\" is no name"),
        ];
        for (text, expected) in table {
            let message = fixed().substitute(text).expect_err(text);
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn the_environment_of_the_process_is_the_default() {
        let path = std::env::var("PATH").expect("tests have a PATH");
        assert_eq!(Environment::default().substitute("${env:PATH}"), Ok(Some(path)));
    }
}
