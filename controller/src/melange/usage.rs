//! How much of a block is used: the extension `block-usage`.

use super::read::id;
use super::{Kind, Melange, MelangeError};
use common::name::TenantId;
use common::store::keys::melange as keys;
use common::wire::melange::UsageView;

impl Melange {
    /// How many addresses of a block can be given, and how many are taken: held, or deallocated and not yet given
    /// again.
    pub async fn usage(&self, tenant: &TenantId, block: &str) -> Result<UsageView, MelangeError> {
        let stored = self.block(tenant, id(block, Kind::Block)?).await?;
        let (forbidden, _) = self.forbidden_in(&stored.block).await?;
        let space = forbidden.space(stored.block.cidr, stored.block.gateway);
        // All of IPv6 counts one less than it is.
        let total = space.last_index().map_or(0, |last| last.saturating_add(1));
        let used = self.store.count(&keys::addresses(stored.id)).await?;
        let free = total.saturating_sub(used.into());
        Ok(UsageView { total: total.to_string(), used: used.to_string(), free: free.to_string() })
    }
}
