//! Which of its two roles the plugin is called in.

use super::ConfigError;
use crate::field::{Field, shortened};

/// The name under which the plugin is installed.
const NAME: &str = "coil";

/// The plugin's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Main plugin: makes the interface.
    Main,
    /// Called by a main plugin for addresses only.
    Ipam,
}

impl Mode {
    /// Tells the role from the configuration. A main plugin hands its own configuration on to the plugin that it
    /// delegates to, so the two types tell which of them is running:
    ///
    /// * no `ipam.type`: main plugin
    /// * `type` is this program, `ipam.type` is absent or this program too: main plugin
    /// * `type` is this program, `ipam.type` another: refused, as the main plugin asks coild itself
    /// * `type` is another: IPAM delegation
    ///
    /// This program is the one that `own_name` says (a renamed or linked binary), or `coil`.
    pub fn of(root: &Field<'_>, own_name: &str) -> Result<Self, ConfigError> {
        let kind = root.require("type")?.text()?;
        let ipam = root.get("ipam")?;
        let Some(delegate) = ipam.as_ref().map(|ipam| ipam.get("type")).transpose()?.flatten() else {
            return Ok(Self::Main);
        };
        let delegated_to = delegate.text()?;
        let is_own = |name: &str| name == own_name || name == NAME;
        if !is_own(kind) || (kind != own_name && delegated_to == own_name) {
            return Ok(Self::Ipam);
        }
        if is_own(delegated_to) {
            return Ok(Self::Main);
        }
        Err(ConfigError::Unsupported {
            key: delegate.key().to_owned(),
            value: shortened(delegate.value()),
            hint: format!("as main plugin {NAME} takes its addresses from coild; leave ipam out"),
        })
    }
}
