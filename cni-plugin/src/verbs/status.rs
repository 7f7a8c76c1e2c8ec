//! STATUS: whether an ADD would work.
//!
//! The code is always 50. 51, for networks whose existing containers suffer too, is never right: interfaces and
//! routes are the kernel's, and stay as they are without coild.

use super::coild;
use crate::config::NetworkConfig;
use crate::error::Error;

/// Asks coild whether it could give an address of each family.
pub fn run(config: &NetworkConfig) -> Result<String, Error> {
    coild(config).ready(&config.families, config.pool.as_ref()).map_err(Error::NotReady)?;
    Ok(String::new())
}
