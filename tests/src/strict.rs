//! Objects of Kubernetes, as strictly as its API server takes them: with no field that it does not know.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An object, if all that it says is understood.
pub fn parsed<T: DeserializeOwned + Serialize>(object: &Value) -> Result<T> {
    let typed: T = serde_json::from_value(object.clone())?;
    is_understood(object, &serde_json::to_value(&typed)?)?;
    Ok(typed)
}

/// Whether all that an object says is in what was understood of it.
fn is_understood(said: &Value, understood: &Value) -> Result<()> {
    match (said, understood) {
        (Value::Object(said), Value::Object(understood)) => {
            for (key, value) in said.iter().filter(|(_, value)| !value.is_null()) {
                let other = understood.get(key).with_context(|| format!("{key}: no such field"))?;
                is_understood(value, other).with_context(|| key.clone())?;
            }
            Ok(())
        }
        (Value::Array(said), Value::Array(understood)) => {
            ensure!(said.len() == understood.len());
            said.iter().zip(understood).try_for_each(|(said, understood)| is_understood(said, understood))
        }
        _ => {
            ensure!(said == understood, "{said} was understood as {understood}");
            Ok(())
        }
    }
}
