//! Bodies of requests as JSON.

use serde::de::DeserializeOwned;

/// Parses a body that must be one JSON object. The error names the field and the reason. (serde by itself would
/// take an array for the fields in their order.)
pub fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let malformed = |reason: String| format!("the body is invalid: {reason}");
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(malformed("it must be a JSON object".to_owned()));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| malformed(error.to_string()))?;
    json.end().map_err(|error| malformed(error.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::node::AllocateRequest;

    #[test]
    fn errors_name_the_field() {
        for (body, reason) in [
            ("", "JSON object"),
            (r#"["ns","pod","id"]"#, "JSON object"),
            (r#"{"pod-namespace":"ns","pod-name":"p"}"#, "missing field `container-id`"),
            (r#"{"pod-namespace":"ns","pod-name":7,"container-id":"c"}"#, "pod-name"),
            (
                r#"{"pod-namespace":"ns","pod-name":"p","container-id":""}"#,
                "container-id: container id is empty",
            ),
            (r#"{"pod-namespace":"ns","pod-name":"p","container-id":"c"} {}"#, "trailing"),
        ] {
            let error = parse_object::<AllocateRequest>(body.as_bytes()).expect_err(body);
            assert!(error.contains(reason), "{body}: {error}");
        }
    }
}
