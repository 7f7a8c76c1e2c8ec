//! VERSION: which versions of the specification are spoken.

use crate::config::{ConfigError, version_of};
use crate::error::Error;
use crate::version::SpecVersion;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    cni_version: &'static str,
    supported_versions: [&'static str; 5],
}

/// Answers in the version that the input asks for, or in the newest if it names none that is spoken: the answer
/// is what tells the runtime.
pub fn run(input: &[u8]) -> Result<String, Error> {
    let version = if input.trim_ascii().is_empty() {
        SpecVersion::NEWEST
    } else {
        let document = serde_json::from_slice(input).map_err(ConfigError::Json)?;
        match version_of(&document) {
            Ok(version) => version,
            Err(ConfigError::Version { .. }) => SpecVersion::NEWEST,
            Err(error) => return Err(error.into()),
        }
    };
    let document = Document {
        cni_version: version.as_str(),
        supported_versions: SpecVersion::ALL.map(SpecVersion::as_str),
    };
    serde_json::to_string(&document).map_err(Error::Result)
}
